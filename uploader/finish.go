package uploader

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// A finisher adds the items to the index, in order, as their packs are finished, and
// commits the version.
type finisher struct {
	*upload
	index   *commit.Index
	gap     bool  // the last version had a file before the next item that this one does not have
	missing int64 // files that could not be read and that no version holds
}

func newFinisher(u *upload) *finisher {
	first := int64(0)
	if u.shard != nil {
		first = u.shard.Plan().Before(u.shard.Number)
	}
	return &finisher{upload: u, index: commit.NewIndexAt(u.dataset, u.key, u.prev, first)}
}

// add waits for the item's packs and adds it to the index. The error is one of the vault.
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
	if it.plan != nil && it.failed == nil {
		if what := differs(it.entry, it.plan); what != "" {
			it.failed = &ChangedError{it.entry.Path, what}
		}
	}
	if it.failed != nil && !f.keep(it) {
		f.gap = true
		return nil
	}
	f.count(it)
	if it.then != nil && alike(it.entry, it.then) {
		if it.then.Recent && !it.entry.Recent {
			f.index.Confirm(it.then, it.entry)
		}
		it.entry = it.then
	}
	err := f.index.Add(ctx, it.entry, commit.Step{Unchanged: it.entry == it.then, Gap: f.gap})
	f.gap = false
	return err
}

// keep reports that a file could not be read, and adds it as the previous version has it.
// It returns false if the previous version does not have the file.
func (f *finisher) keep(it *item) bool {
	if f.shard != nil {
		f.fail(it.entry.Path, it.failed)
		return false
	}
	if it.then == nil || !it.then.IsFile() || !f.inVaultOrWarn(it.then.Extents) {
		f.missing++
		f.fail(it.entry.Path, fmt.Errorf("%w; the new version does not have it", it.failed))
		return false
	}
	f.fail(it.entry.Path, fmt.Errorf("%w; the new version has it as version %d had it", it.failed, f.prev.Number))
	it.entry, it.reused, it.resumed, it.sent = keptEntry(it.then), true, false, false
	return true
}

// alike reports whether two entries with the same path are equal, except for Recent.
func alike(now, then *tree.Entry) bool {
	if now == then {
		return true
	}
	if !now.IsFile() {
		return now.Mode == then.Mode && now.ModTime.Equal(then.ModTime) && now.Link == then.Link && now.Flaw == then.Flaw
	}
	if !now.Equal(then) || (now.Sum == nil) != (then.Sum == nil) || len(now.Extents) != len(then.Extents) {
		return false
	}
	for i, x := range now.Extents {
		if y := then.Extents[i]; x.Pack.ID != y.Pack.ID || x.Offset != y.Offset || x.Length != y.Length {
			return false
		}
	}
	// Another machine's inode means nothing here.
	return now.Seen.Host != then.Seen.Host || now.Seen.Inode == then.Seen.Inode && now.Seen.ChangeTime.Equal(then.Seen.ChangeTime)
}

// sameState reports whether two entries are of files with the same attributes.
func sameState(a, b *tree.Entry) bool {
	return a.Size == b.Size && a.Mode == b.Mode && a.ModTime.Equal(b.ModTime) && a.Flaw == b.Flaw
}

// count counts what was done with a file.
func (f *finisher) count(it *item) {
	if it.entry.Flaw == tree.FlawTorn && it.failed == nil {
		f.fail(it.entry.Path, fmt.Errorf("%w each time; it is stored as it was read, with possibly mixed contents", errChanged))
	}
	if !it.entry.IsFile() {
		return
	}
	switch {
	case it.then == nil || !it.then.IsFile():
		f.Added.Add(1)
	case it.entry.Equal(it.then) && (it.reused || it.resumed):
		f.UnchangedFiles.Add(1)
	case it.failed != nil, it.entry.Flaw == tree.FlawKept:
		f.UnchangedFiles.Add(1)
	case it.sent && it.matched && sameState(it.entry, it.then):
		f.UnchangedFiles.Add(1)
		f.ResentFiles.Add(1)
	default:
		f.Changed.Add(1)
	}
	switch {
	case it.sent:
		f.SentFiles.Add(1)
	case it.resumed:
		f.ResumedFiles.Add(1)
	}
	if len(it.jobs) > 0 && it.jobs[0].piece && it.failed == nil {
		return // its pieces were counted
	}
	if it.resumed {
		f.ResumedBytes.Add(it.entry.Size)
	} else if it.reused {
		f.SameBytes.Add(it.entry.Size)
	}
}

// pieces joins the extents of a large file. If the file changed between the pieces, it is
// read once more from the beginning.
func (f *finisher) pieces(ctx context.Context, it *item) error {
	err := f.collect(ctx, it)
	var stop *stopped
	if errors.As(err, &stop) && errors.Is(stop.err, errChanged) {
		err = f.resend(ctx, it)
	}
	if errors.As(err, &stop) {
		it.failed = stop.err
		return nil
	}
	return err
}

func (f *finisher) collect(ctx context.Context, it *item) error {
	for _, j := range it.jobs {
		if j.like != nil {
			j.err = j.like.err
		}
		if j.err != nil {
			return j.err
		}
	}
	it.entry.Extents = nil
	it.reused, it.resumed = true, true
	for _, j := range it.jobs {
		if j.like != nil {
			j.extent, j.pack, j.reused, j.resumed = j.like.extent, j.like.pack, true, j.like.resumed
			j.extent.At = j.off
		}
		it.entry.Extents = append(it.entry.Extents, j.extent)
		it.sent = it.sent || !j.reused
		it.resumed = it.resumed && j.resumed
		switch {
		case j.resumed:
			f.ResumedBytes.Add(j.n)
		case j.reused:
			f.SameBytes.Add(j.n)
		}
	}
	it.reused, it.resumed = !it.sent, it.resumed && !it.sent
	if f.Checksum && f.stream == nil {
		return f.sumPieces(ctx, it)
	}
	return nil
}

// sumPieces records the SHA-256 of a large file, whose pieces were read concurrently. It
// reads the file once more, and checks with the keyed sums that it reads the bytes that
// are in the vault: with the SHA-256 of other bytes, no reader would accept the file.
func (f *finisher) sumPieces(ctx context.Context, it *item) error {
	file, err := f.openFile(it)
	if err != nil {
		return &stopped{it, err}
	}
	defer file.Close()
	whole := sha256.New()
	for _, j := range it.jobs {
		dst := io.Writer(whole)
		var keyed *envelope.ContentHash
		if !f.DryRun {
			if keyed, err = objects.Of(f.dataset).ContentHash(ctx, j.extent.Pack.KeyID); err != nil {
				return err
			}
			dst = io.MultiWriter(whole, keyed)
		}
		r := file.section(ctx, j.off, j.n)
		n, err := io.Copy(dst, ctxio.Reader(ctx, r))
		r.Close()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && (n != j.n || keyed != nil && keyed.Sum() != j.extent.Sum) {
			err = errChanged
		}
		if errors.Is(err, errChanged) && it.torn {
			it.entry.Flaw = tree.FlawTorn // and no SHA-256
			return nil
		}
		if err != nil {
			return &stopped{it, err}
		}
	}
	it.entry.Sum = whole.Sum(nil)
	return nil
}

// resend rereads all of a large file, one piece at a time. It does not send what is
// already in the vault. A file that changes again is accepted if there is nothing better.
func (f *finisher) resend(ctx context.Context, it *item) error {
	old := it.jobs
	entry := *it.entry
	it.entry, it.jobs, it.torn = &entry, nil, f.shard == nil && it.mayTear()
	file, err := f.openItem(ctx, it)
	if err != nil {
		return &stopped{it, err}
	}
	file.Close()
	found := map[int64][]knownExtent{}
	for _, j := range old {
		for _, x := range j.known {
			x.trusted = false // because of times that are no longer the file's
			found[j.off] = append(found[j.off], x)
		}
		if j.pack != nil && !j.reused {
			found[j.off] = append(found[j.off], knownExtent{Extent: j.extent})
		}
	}
	holes := f.findHoles(it)
	defer holes.close()
	for _, j := range f.cut(it, found) {
		it.jobs = append(it.jobs, j)
		if holes.share(j) {
			continue
		}
		if err := f.sendPiece(ctx, j); err != nil {
			return err
		}
		close(j.done)
		f.check.add(j)
	}
	return f.collect(ctx, it)
}

// reliedOn returns the packs of others that the index names and that existed when the
// upload began. A pack that was lost before is not among them, since failing the commit
// would not bring it back.
func (f *finisher) reliedOn() map[envelope.ObjectID]*tree.Object {
	packs := map[envelope.ObjectID]*tree.Object{}
	for id, o := range f.index.Packs() {
		if size, ok := f.packSize(id); ok && size == o.Pin.Size {
			packs[id] = o
		}
	}
	return packs
}

// commit makes the version, unless nothing has changed.
func (f *finisher) commit(ctx context.Context) (*Result, error) {
	if f.shard != nil {
		return f.finishShard(ctx)
	}
	c, changed, err := f.index.Finish(ctx)
	if err != nil {
		return nil, err
	}
	c.Totals.Flaws += f.missing + f.unknown
	if f.prev != nil && f.prev.Totals.Flaws != c.Totals.Flaws {
		changed = true // what could not be read is different now
	}
	if !changed && f.Message != "" {
		f.Warn(errors.New("nothing has changed, so no version was created that could carry the message; a tag names the version that is there"))
	}
	res := &Result{Version: f.prev}
	if changed {
		c.Relied, c.Message = f.reliedOn(), f.Message
		res.Version, err = f.lease.Commit(ctx, f.key, c)
		if err != nil {
			err = errors.Join(err, f.check.recordRest(ctx))
		}
		if errors.Is(err, dataset.ErrConflict) {
			return nil, fmt.Errorf("%w while this upload was running; uploaded data is kept: "+
				"run the same command again to add it on top of that version", err)
		}
		if err != nil {
			return nil, err
		}
		res.Committed = true
	}
	if err := f.lease.Forget(ctx); err != nil {
		f.Warn(fmt.Errorf("the records of this upload could not be removed: %w", err))
	}
	if f.DryRun {
		res.Version = nil // no version has that number
	}
	return res, nil
}
