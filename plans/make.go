package plans

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/cut"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/uploader"
)

// MakeOptions configure [Make].
type MakeOptions struct {
	// Shards is the number of shards, 1 to MaxShards.
	Shards int
	// Upload says what is uploaded, and how: its Filter, Links, AllowEmpty, Own, PackSize,
	// Shuffle and Checksum are the plan's. Its Failed, Skipped, Warn and Progress are
	// used while the plan is made.
	Upload uploader.Options
}

// Bounds of a page of a plan. They are variables for the tests only.
var (
	pageEntries = 16 << 10
	pagePathLen = 4 << 20
)

// Make walks the source at path and stores a plan of it in the vault. Whatever the source
// has, it takes a bounded amount of memory. No plan is made of a source of which something
// cannot be read.
//
// From then on, a collection removes nothing from the dataset until the plan is committed
// or given up.
func Make(ctx context.Context, d *dataset.Dataset, path string, opts MakeOptions) (*Plan, error) {
	if err := given.Check(ctx, d != nil && d.Vault() != nil, errNoDataset); err != nil {
		return nil, err
	}
	source, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(source); err != nil { // before anything is made for it
		return nil, err
	}
	return makeOf(ctx, d, source, opts, func(ctx context.Context, take func(uploader.Found) error) error {
		_, err := uploader.Walk(ctx, d, source, opts.Upload, take)
		return err
	})
}

// MakeOfBucket is Make for the objects of a bucket. The plan pins each in its state: workers list
// nothing, and read no object in another state.
func MakeOfBucket(ctx context.Context, d *dataset.Dataset, b uploader.Bucket, opts MakeOptions) (*Plan, error) {
	if err := given.Check(ctx, d != nil && d.Vault() != nil && b != nil, errNoDataset); err != nil {
		return nil, err
	}
	return makeOf(ctx, d, b.String(), opts, func(ctx context.Context, take func(uploader.Found) error) error {
		_, err := uploader.WalkBucket(ctx, d, b, opts.Upload, take)
		return err
	})
}

// A lister calls take with all that a source has.
type lister func(ctx context.Context, take func(uploader.Found) error) error

func makeOf(ctx context.Context, d *dataset.Dataset, source string, opts MakeOptions, list lister) (*Plan, error) {
	if opts.Shards < 1 || opts.Shards > MaxShards {
		return nil, fmt.Errorf("a plan of %d shards: it has 1 to %d", opts.Shards, MaxShards)
	}
	if opts.Upload.DryRun || opts.Upload.Resend != nil || opts.Upload.Message != "" {
		return nil, errors.New("plans: a plan has no dry run, resends nothing, and its message is that of Commit")
	}
	l, err := commit.Begin(ctx, d, "plan")
	if err != nil {
		return nil, err
	}
	p, err := draft(l.Context(), l, source, opts, list)
	err = l.Because(err)
	if end := l.End(ctx); end != nil {
		err = errors.Join(err, end)
	}
	if err != nil {
		return nil, err
	}
	return planOf(p, d.Name), nil
}

// draft writes the plan.
func draft(ctx context.Context, l *commit.Lease, source string, opts MakeOptions, list lister) (*commit.Plan, error) {
	f, err := l.NewDraft(ctx)
	if err != nil {
		return nil, err
	}
	f.Source, f.Links, f.PackSize, f.Shuffle, f.Checksum = source, opts.Upload.Links.String(), opts.Upload.PackSize, opts.Upload.Shuffle, opts.Upload.Checksum
	if f.PackSize == 0 {
		f.PackSize = uploader.DefaultPackSize
	}
	w := &writer{ctx: ctx, draft: f, cut: cut.New(opts.Shards)}
	if err := list(ctx, w.take); err != nil {
		return nil, err
	}
	if err := w.flush(); err != nil {
		return nil, err
	}
	if v := l.Previous(); v != nil && v.Totals.Files > 0 && w.totals.Files == 0 && !opts.Upload.AllowEmpty {
		return nil, fmt.Errorf("%w: %s has no files, but version %d has %d. Is it mounted, and is it the right folder? No plan was made; if it should be empty, use --allow-empty",
			uploader.ErrEmptied, source, v.Number, v.Totals.Files)
	}
	f.Totals, f.Shards = w.totals, shardsOf(w.cut.Runs(opts.Shards))
	return f.Store(ctx)
}

// A writer writes the pages of a plan.
type writer struct {
	ctx    context.Context
	draft  *commit.Draft
	cut    *cut.Cutter
	page   []codec.Planned
	size   int
	totals tree.Totals
}

func (w *writer) take(f uploader.Found) error {
	w.cut.Add(quality(f), f.Path, weighed(f))
	e := f.Entry
	e.Seen, e.Recent = tree.Seen{}, false // of this machine
	w.totals.Count(e)
	w.page = append(w.page, codec.Planned{Entry: e, More: f.More, ETag: f.ETag, Version: f.Version})
	w.size += codec.PathLen(e) + len(f.ETag) + len(f.Version)
	if len(w.page) >= pageEntries || w.size >= pagePathLen {
		return w.flush()
	}
	return nil
}

func (w *writer) flush() error {
	if len(w.page) == 0 {
		return nil
	}
	err := w.draft.AddPage(w.ctx, w.page)
	w.page, w.size = w.page[:0], 0
	return err
}

// quality says whether the source may be cut before an entry: where no sample goes on.
func quality(f uploader.Found) cut.Quality {
	if f.Cut {
		return cut.Good
	}
	return cut.Never
}

func weighed(f uploader.Found) cut.Place {
	if !f.IsFile() {
		return cut.Place{Entries: 1}
	}
	return cut.Place{Entries: 1, Files: 1, Bytes: f.Size}
}

func shardsOf(runs []cut.Run) (out []codec.PlanShard) {
	for _, r := range runs {
		out = append(out, codec.PlanShard{From: r.Path, Entries: r.Length.Entries, Files: r.Length.Files, Bytes: r.Length.Bytes})
	}
	return out
}
