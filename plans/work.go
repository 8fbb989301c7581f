package plans

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// WorkOptions configure [Work].
type WorkOptions struct {
	// Source is the path of the source on this machine, or the URL of a bucket. If it is empty,
	// the source is where it was when the plan was made.
	Source string
	// OpenBucket opens a bucket by its URL. Without it, plans of buckets cannot be worked on.
	OpenBucket func(ctx context.Context, url string) (uploader.Bucket, error)
	// Memory and Concurrency are those of an upload, and Failed, Warn and Progress too.
	Memory      int64
	Concurrency int
	Failed      func(path string, err error)
	Warn        func(err error)
	Progress    *uploader.Progress
	// Begun is called with the plan before the work begins.
	Begun func(*Plan)
}

// A WorkResult is the result of [Work].
type WorkResult struct {
	Plan *Plan
	// Finished says that this run has finished the shard. Otherwise another one had before,
	// or the shard is empty.
	Finished bool
	Stats    uploader.Stats
	// Requests are those that were made to the bucket that the plan is of, if it is of one.
	Requests vault.Requests
}

// Work uploads shard n of a plan, unless that was done before. It continues from what
// earlier workers of the shard have recorded. It uses the vault's signing key, which must be
// that of a signer of the dataset, and it needs no permission to list or to delete.
//
// If a file cannot be read, the error is a *dataset.PartialError; if the source is not as
// it was planned, it wraps ErrSourceChanged. The shard is not finished then.
func Work(ctx context.Context, d *dataset.Dataset, r Reference, n int, opts WorkOptions) (*WorkResult, error) {
	p, err := read(ctx, d, r)
	if err != nil {
		return nil, err
	}
	s, err := commit.BeginShard(ctx, p, n)
	if err != nil {
		return nil, err
	}
	res := &WorkResult{Plan: planOf(p, d.Name)}
	if opts.Begun != nil {
		opts.Begun(res.Plan)
	}
	if s.Done() != nil || p.Shards[n].Entries == 0 {
		return res, s.Lease().End(ctx)
	}
	if opts.Progress == nil {
		opts.Progress = &uploader.Progress{}
	}
	source := opts.Source
	if source == "" {
		source = p.Source
	}
	told := tell(s, opts)
	up, err := upload(s.Lease().Context(), d, source, s, opts)
	err = s.Lease().Because(err)
	told.stop(ctx, err)
	if err != nil {
		return nil, &ShardError{Reference{r.Dataset, r.ID, ""}, n, err}
	}
	res.Finished, res.Stats, res.Requests = up.Committed, up.Stats, up.Source
	return res, nil
}

// upload uploads the shard from wherever the source is.
func upload(ctx context.Context, d *dataset.Dataset, source string, s *commit.Shard, opts WorkOptions) (*uploader.Result, error) {
	how := uploader.Options{Memory: opts.Memory, Concurrency: opts.Concurrency, Failed: opts.Failed, Warn: opts.Warn, Progress: opts.Progress}
	planned, given := IsBucket(s.Plan().Source), IsBucket(source)
	switch {
	case planned != given:
		return nil, fmt.Errorf("the plan is of %s, and the source is %s: one is a bucket and the other is not", s.Plan().Source, source)
	case !given:
		return uploader.UploadShard(ctx, d, source, s, how)
	case opts.OpenBucket == nil:
		return nil, fmt.Errorf("plans: the plan is of %s, and WorkOptions.OpenBucket is nil", source)
	}
	b, err := opts.OpenBucket(ctx, source)
	if err != nil {
		return nil, err
	}
	return uploader.UploadBucketShard(ctx, d, b, s, how)
}

// IsBucket reports whether a source is the URL of a bucket, and not a path.
func IsBucket(source string) bool { return strings.Contains(source, "://") && !filepath.IsAbs(source) }
