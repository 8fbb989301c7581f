package plans

import (
	"context"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/uploader"
)

// WorkOptions configure [Work].
type WorkOptions struct {
	// Source is the path of the source on this machine. If it is empty, the source is where
	// it was when the plan was made.
	Source string
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
	up, err := uploader.UploadShard(s.Lease().Context(), d, source, s, uploader.Options{Memory: opts.Memory, Concurrency: opts.Concurrency,
		Failed: opts.Failed, Warn: opts.Warn, Progress: opts.Progress})
	err = s.Lease().Because(err)
	told.stop(ctx, err)
	if err != nil {
		return nil, &ShardError{Reference{r.Dataset, r.ID, ""}, n, err}
	}
	res.Finished, res.Stats = up.Committed, up.Stats
	return res, nil
}
