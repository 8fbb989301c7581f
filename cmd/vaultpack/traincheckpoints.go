package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/vault"
)

// checkpointPlace returns where --checkpoints keeps the checkpoints of a job on this
// machine: in a folder, whose name contains a separator or begins with a dot, or in a
// dataset, or in S3. Without the flag it is that of the job's file. It is zero if there is
// neither, or the flag is none.
func checkpointPlace(c *cli.Context, v *vault.Vault, file string) (at local.Destination, err error) {
	s := file
	if c.IsSet("checkpoints") {
		s = c.String("checkpoints")
	}
	switch {
	case s == "none" || s == "" && !c.IsSet("checkpoints"):
		return at, nil
	case strings.Contains(s, "://"):
		at.S3, err = inS3("checkpoints", s)
		return at, err
	case s == "":
		return at, usagef("--checkpoints is empty: name a dataset, or ./DIR")
	case local.IsFolder(s):
		if at.Folder, err = filepath.Abs(s); err != nil {
			return at, err
		}
	default:
		at.Dataset, at.Vault = s, v.Location
	}
	if err := at.Check(); err != nil {
		return at, usagef("--checkpoints: %w", err)
	}
	return at, nil
}

// resumeCheckpoints makes the job begin with what an earlier job left in the place of
// --checkpoints, and keep its own there.
func resumeCheckpoints(c *cli.Context, v *vault.Vault, in *trainer.Job, job *local.Job, d *delivery) error {
	if d.place == (local.Destination{}) {
		return nil
	}
	switch {
	case d.place.Folder != "" && d.place.Folder == d.to.Folder || d.place.S3 != "" && d.place.S3 == d.to.S3 || d.place.Dataset != "" && slices.Contains([]string{d.place.Dataset, strings.TrimSuffix(d.place.Dataset, "-unfinished")}, d.to.Dataset):
		return usagef("--checkpoints: %s is where the results go; keep checkpoints in another place", d.place)
	case in.Channels["checkpoints"] != nil:
		return usagef("--checkpoints cannot be used with a channel named checkpoints")
	}
	if err := job.Resume(c.Context, v, d.place); errors.Is(err, local.ErrPlaceTaken) {
		return usagef("--checkpoints: %w; wait for its end, or bring what it has left there: train --local --resume JOB", err)
	} else if err != nil {
		return fmt.Errorf("--checkpoints: %w", err)
	}
	job.Keep = d.keep
	switch {
	case d.place.S3 != "":
		d.con.notef("checkpoints: from %s, and kept there, not sealed", d.place.S3)
	case d.place.Folder != "":
		d.con.notef("checkpoints: from %s, and kept there in the clear", show(d.place.Folder))
	case job.Saved.Version == nil:
		d.con.notef("checkpoints: none yet; they are kept in dataset %s", d.place.Dataset)
	default:
		d.con.notef("checkpoints: from %s@%d", d.place.Dataset, job.Saved.Version.Number)
	}
	return nil
}

// keep delivers the checkpoints, and prints where.
func (d *delivery) keep(ctx context.Context, r *local.Results) error {
	if d.place.S3 != "" {
		if err := local.PutCheckpoints(ctx, r, d.buckets, d.place, d.con.warning); err != nil {
			return fmt.Errorf("--checkpoints: %w", err)
		}
		d.summary["checkpoints"] = d.place.S3
		d.con.printf("checkpoints  %s (not sealed)", d.place.S3)
		return nil
	}
	if d.place.Folder != "" {
		if err := local.CopyCheckpoints(ctx, r, d.place.Folder, d.con.warning); err != nil {
			return fmt.Errorf("--checkpoints: %w", err)
		}
		d.summary["checkpoints"] = d.place.Folder
		d.con.printf("checkpoints  %s (in the clear)", show(d.place.Folder))
		return nil
	}
	set, err := dataset.Open(d.vault, d.place.Dataset)
	if err != nil {
		return err
	}
	defer set.Close()
	v, err := local.SealCheckpoints(ctx, r, set, d.con.warning)
	if err != nil {
		return fmt.Errorf("sealing the checkpoints: %w", err)
	}
	d.summary["checkpoints_dataset"], d.summary["checkpoints_version"] = d.place.Dataset, v.Number
	d.con.printf("checkpoints  sealed as dataset %s, version %d", d.place.Dataset, v.Number)
	return nil
}
