package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// inS3 returns a place in S3 as a destination has it.
func inS3(flag, uri string) (string, error) {
	if !s3store.IsURL(uri) {
		return "", usagef("--%s: with --local a place that is a URI is in S3, and not %s", flag, uri)
	}
	if _, err := s3store.ParseURL(uri); err != nil {
		return "", usagef("--%s: %w", flag, err)
	}
	return "s3://" + strings.TrimSuffix(uri[len("s3://"):], "/"), nil
}

// localBuckets opens buckets for a job.
func localBuckets(cfg *config.Config) local.Buckets {
	return func(ctx context.Context, uri, kmsKey string) (local.Bucket, error) {
		return config.OpenBucket(ctx, cfg, uri, kmsKey)
	}
}

// reach finds what the job needs of S3, before it is known to anybody and before any data is
// opened.
func reach(ctx context.Context, job *local.Job) error {
	err := job.Reach(ctx)
	var wrong *local.ChannelError
	switch {
	case errors.Is(err, local.ErrInS3):
		return usagef("%w: choose another --name, or another place with --output", err)
	case errors.As(err, &wrong) && errors.Is(err, local.ErrNoObjects):
		return usageError{err}
	}
	return err
}

// newDelivery returns where results and checkpoints of the job go.
func newDelivery(c *cli.Context, con *console, cfg *config.Config, v *vault.Vault, in *trainer.Job, main string) (*delivery, error) {
	d := &delivery{con: con, vault: v, buckets: localBuckets(cfg)}
	var err error
	if d.to, err = localDestination(c, v, main, in.Output); err != nil {
		return nil, err
	}
	if d.place, err = checkpointPlace(c, v, in.Checkpoints); err != nil {
		return nil, err
	}
	if d.to.S3 != "" {
		d.to.KMSKey = in.OutputKMSKey
	}
	return d, d.staysSealed(in)
}

// staysSealed returns an error if what the job is to seal would be delivered in the clear.
func (d *delivery) staysSealed(in *trainer.Job) error {
	clear := func(at local.Destination) bool { return at.Dataset == "" && at != (local.Destination{}) }
	if in.SealModel && clear(d.to) {
		return usagef("the model would be in the clear in %s, and seal_model says that the model is to be sealed: use --output seal", d.to)
	}
	if in.SealCheckpoints && (clear(d.place) || d.place == (local.Destination{}) && clear(d.to)) {
		return usagef("checkpoints would be kept in the clear, and seal_checkpoints says that they are to be sealed: name a dataset with --checkpoints")
	}
	return nil
}

// put stores results in S3, and prints where.
func (d *delivery) put(ctx context.Context, r *local.Results) error {
	at, err := local.PutTo(ctx, r, d.buckets, d.to, d.con.warning)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	d.summary["output"] = strings.TrimSuffix(at, "/")
	what := "results  " + at
	if !r.Unfinished {
		what, d.model = "model    "+at+"model.tar.gz", strings.TrimSuffix(at, "/")
	}
	d.con.printf("%s (not sealed)", what)
	return nil
}
