package uploader

import (
	"context"
	"errors"
	"fmt"

	"github.com/vaultpack/vaultpack/dataset"
)

// A finisher enters the items in the index, in order, as their packs come in,
// and commits the version.
type finisher struct {
	*Upload
	index *dataset.IndexWriter
	gap   bool // a file that the last version had is left out before the next
}

func newFinisher(u *Upload) *finisher {
	return &finisher{Upload: u, index: u.Dataset.NewIndexWriter(u.key, u.prev)}
}

// add waits for the item's packs and enters it. The error is one of the vault.
func (f *finisher) add(ctx context.Context, it *item) error {
	for _, j := range it.jobs {
		select {
		case <-j.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if len(it.jobs) > 0 && it.jobs[0].piece {
		if err := f.pieces(ctx, it); err != nil {
			return err
		}
	} else if len(it.jobs) > 0 && it.jobs[0].err != nil {
		return it.jobs[0].err
	}
	f.gap = f.gap || it.gap
	if it.failed != nil {
		f.gap = true
		return nil
	}
	err := f.index.Add(ctx, it.entry, it.unchanged, f.gap)
	f.gap = false
	return err
}

// pieces puts the extents of a large file together. If the file changed under
// the pieces it is sent once more, from the beginning.
func (f *finisher) pieces(ctx context.Context, it *item) error {
	err := f.collect(it)
	var stop *stopped
	if errors.As(err, &stop) && errors.Is(stop.err, errChanged) {
		err = f.resend(ctx, it)
	}
	if errors.As(err, &stop) {
		f.failItem(it, stop.err)
		return nil
	}
	if err == nil && !it.resumed {
		f.SentFiles.Add(1)
	}
	return err
}

func (f *finisher) collect(it *item) error {
	it.entry.Extents = nil
	for _, j := range it.jobs {
		if j.err != nil {
			return j.err
		}
		it.entry.Extents = append(it.entry.Extents, dataset.Extent{Pack: j.pack, Length: j.n, At: j.off})
	}
	return nil
}

// resend sends all of a large file, a piece at a time.
func (f *finisher) resend(ctx context.Context, it *item) error {
	entry := *it.entry
	it.entry, it.jobs = &entry, nil
	file, err := f.openItem(ctx, it)
	if err != nil {
		return &stopped{it, err}
	}
	file.Close()
	if f.Checksum {
		if it.entry.Sum, err = sumFile(ctx, it); err != nil {
			return &stopped{it, err}
		}
	}
	for off := int64(0); off == 0 || off < it.entry.Size; off += f.PackSize {
		j := &job{items: []*item{it}, off: off, n: min(f.PackSize, it.entry.Size-off), piece: true, done: make(chan struct{})}
		it.jobs = append(it.jobs, j)
		if err := f.sendPiece(ctx, j); err != nil {
			return err
		}
		close(j.done)
		f.check.add(j)
	}
	return f.collect(it)
}

// commit makes the version, unless nothing has changed.
func (f *finisher) commit(ctx context.Context) (*Result, error) {
	parts, totals, changed, err := f.index.Finish(ctx)
	if err != nil {
		return nil, err
	}
	res := &Result{Version: f.prev}
	if changed {
		res.Version, err = f.Dataset.Commit(ctx, f.key, f.prev, parts, totals)
		if err != nil {
			err = errors.Join(err, f.check.recordRest(ctx))
		}
		if errors.Is(err, dataset.ErrConflict) {
			return nil, fmt.Errorf("%w while this upload was under way; what it has sent is kept: "+
				"run the same command again to put it on top of that version", err)
		}
		if err != nil {
			return nil, err
		}
		res.Committed = true
	}
	for _, err := range []error{f.check.remove(ctx), f.pending.Remove(ctx, f.source)} {
		if err != nil {
			f.Warn(fmt.Errorf("the records of this upload could not be removed: %w", err))
		}
	}
	if f.DryRun {
		res.Version = nil // there is none of that number
	}
	return res, nil
}
