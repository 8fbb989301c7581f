package uploader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/tarpack"
)

// runJob stores the job's contents in the vault. Files that fail are marked, and the rest
// is written without them. Only errors of the vault are returned.
func (u *upload) runJob(ctx context.Context, j *job) error {
	if u.stream != nil {
		return u.sendStream(ctx, j)
	}
	if j.piece {
		return u.sendPiece(ctx, j)
	}
	items, err := u.resolve(ctx, j)
	if err != nil || len(items) == 0 {
		return err
	}
	if u.DryRun {
		return u.planTar(ctx, j, items)
	}
	return u.sendTar(ctx, j, items)
}

// sendTar writes small files as a tar. If a file fails in the middle of its contents, the
// pack is restarted as another object: once more with the file if it has changed, and
// then without it.
func (u *upload) sendTar(ctx context.Context, j *job, items []*item) error {
	sums, err := u.newSums()
	if err != nil {
		return err
	}
	tries := map[*item]int{}
	for {
		t := &tarWriter{upload: u, ctx: ctx, sums: sums}
		pack, err := objects.Of(u.dataset).WritePack(ctx, u.key, func(w io.Writer) error { return t.write(w, items) }, envelope.Workers(u.segments))
		var stop *stopped
		switch {
		case errors.Is(err, errEmptyPack):
			return nil
		case errors.As(err, &stop):
			tries[stop.it]++
			u.again(stop, tries[stop.it])
			continue
		case err != nil:
			return fmt.Errorf("writing a pack: %w", err)
		}
		j.pack = &pack
		for i, it := range t.good {
			t.extents[i].Pack = j.pack
			it.entry.Extents = t.extents[i : i+1 : i+1]
			it.sent = true
		}
		u.packDone(j, t.good)
		return nil
	}
}

var errEmptyPack = errors.New("nothing to pack")

// again decides what happens to a file that spoiled a pack: it is retried once if it
// has changed, and then accepted as it is, if nothing better is known about it.
func (u *upload) again(stop *stopped, tries int) {
	changed := errors.Is(stop.err, errChanged)
	switch {
	case changed && tries <= 1:
	case changed && tries == 2 && u.shard == nil && stop.it.mayTear():
		stop.it.torn = true
	default:
		stop.it.failed = stop.err
	}
}

func (u *upload) packDone(j *job, good []*item) {
	u.Packs.Add(1)
	u.SealedBytes.Add(j.pack.Pin.Size)
	for _, it := range good {
		if !j.piece {
			j.record = append(j.record, it.entry)
			continue
		}
		e := *it.entry
		e.Extents = []tree.Extent{j.extent}
		j.record = append(j.record, &e)
	}
}

// A tarWriter writes the tar in one attempt to send a pack.
type tarWriter struct {
	*upload
	ctx  context.Context
	sums *sums
	tar  *tarpack.Writer
	next func(it *item) contents // reads the items, in order

	good    []*item // the items in the tar
	extents []tree.Extent
}

// write writes the items to w. A *stopped error means that one of them spoiled the tar.
func (t *tarWriter) write(w io.Writer, items []*item) error {
	t.good, t.extents = nil, nil
	t.tar = tarpack.NewWriter(w)
	items = slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return it.failed != nil })
	t.next = func(it *item) contents { return t.read(t.ctx, it) }
	if t.bucket != nil {
		ahead := newAhead(t.ctx, len(items), func(i int) int64 { return min(items[i].planned, inMemory) },
			func(ctx context.Context, i int) contents { return t.read(ctx, items[i]) })
		defer ahead.stop()
		t.next = func(*item) contents { c, _ := ahead.next(); return c }
	}
	for _, it := range items {
		if err := t.add(it); err != nil {
			return err
		}
	}
	if len(t.good) == 0 {
		return errEmptyPack
	}
	return t.tar.Close()
}

// contents are what was read of a file: all of it, or the open file if it is large.
type contents struct {
	b     []byte
	whole bool
	f     opened
	err   error
}

// read reads a file for the tar.
func (u *upload) read(ctx context.Context, it *item) (c contents) {
	if c.f, c.err = u.openItem(ctx, it); c.err != nil || it.entry.Size > inMemory {
		return c
	}
	c.whole = true
	c.b, c.err = u.readStable(ctx, &c.f, it)
	return c
}

// add adds one file. A file that cannot be read is marked as failed.
func (t *tarWriter) add(it *item) error {
	c := t.next(it)
	if c.f != nil {
		defer c.f.Close()
	}
	if it.failed = c.err; c.err != nil {
		return nil
	}
	if t.tar.Written()+tarpack.Size(it.entry)+tarpack.End > t.PackSize && it.entry.Size > it.planned {
		it.failed = errChanged // it has grown, and the pack has no room for it
		return nil
	}
	t.sums.reset()
	var at int64
	var err error
	if c.whole {
		if at, err = t.tar.Begin(it.entry); err != nil {
			return err
		}
		if _, err := t.tar.Write(c.b); err != nil {
			return err
		}
		t.sums.Write(c.b)
		t.SentBytes.Add(int64(len(c.b)))
	} else {
		if at, err = t.tar.Begin(it.entry); err != nil {
			return err
		}
		if err := t.copyStable(t.ctx, t.tar, t.sums, c.f, it, 0, it.entry.Size); err != nil {
			return err
		}
	}
	if err := t.tar.Flush(); err != nil {
		return err
	}
	t.good = append(t.good, it)
	t.extents = append(t.extents, tree.Extent{Offset: at, Length: it.entry.Size, Sum: t.sums.take(it.entry)})
	return nil
}

// sendPiece stores one piece of a large file in the vault. Errors of the file are left to
// the finisher, which sees all pieces.
func (u *upload) sendPiece(ctx context.Context, j *job) error {
	it := j.items[0]
	if u.bucket == nil {
		settle(ctx, it.entry)
	}
	f, err := u.openFile(it)
	if err != nil {
		return &stopped{it, err}
	}
	defer f.Close()
	if err := u.stable(f, it); err != nil {
		return &stopped{it, err}
	}
	if same, err := u.comparePiece(ctx, j, f); err != nil {
		if errors.Is(err, errChanged) {
			return &stopped{it, err}
		}
		return err
	} else if same {
		err := u.stable(f, it)
		if err == nil && j.off+j.n == it.entry.Size && !it.torn {
			err = endsAt(f, it.entry.Size)
		}
		if err != nil {
			return &stopped{it, err}
		}
		return nil
	}
	if u.DryRun {
		return u.planPiece(ctx, j)
	}
	sum, err := envelope.NewContentHash(u.key)
	if err != nil {
		return err
	}
	pack, err := objects.Of(u.dataset).WritePack(ctx, u.key, func(w io.Writer) error {
		sum.Reset()
		return u.copyStable(ctx, w, sum, f, it, j.off, j.n)
	}, envelope.Workers(u.segments))
	var stop *stopped
	if errors.As(err, &stop) {
		return stop
	}
	if err != nil {
		return fmt.Errorf("writing a pack: %w", err)
	}
	j.pack = &pack
	j.extent = tree.Extent{Pack: j.pack, Length: j.n, At: j.off, Sum: sum.Sum()}
	u.packDone(j, j.items)
	return nil
}
