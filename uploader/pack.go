package uploader

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// tarEnd is what closes a tar file.
const tarEnd = 1024

// tarSize is how much of a pack a file takes at most.
func tarSize(e *dataset.Entry) int64 {
	const block = 512
	// A hole can be as large as a number: that is more than any pack, too.
	size := block + (min(e.Size, 1<<62)+block-1)/block*block
	const latest = 1<<33 - 1 // what a time in a plain header can be, in seconds
	t := e.ModTime.Unix()
	if long := int64(len(e.Path)); long > 100 || !isASCII(e.Path) || e.Size >= 8<<30 || t < 0 || t >= latest {
		size += block + (long+128+block-1)/block*block // a PAX header before the header
	}
	return size
}

func isASCII(s string) bool {
	for _, c := range []byte(s) {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// runJob brings the job's contents into the vault. Files that fail are marked, and
// the rest is written without them. The error it returns is one of the vault.
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

// sendTar writes small files as a tar. If one of them fails in the middle of its
// contents the pack is begun anew, as another object: with the file once more
// if it has changed, and then without it.
func (u *upload) sendTar(ctx context.Context, j *job, items []*item) error {
	sums, err := u.newSums()
	if err != nil {
		return err
	}
	tries := map[*item]int{}
	for {
		t := &tarWriter{upload: u, ctx: ctx, sums: sums}
		pack, err := u.dataset.WritePack(ctx, u.key, func(w io.Writer) error { return t.write(w, items) }, envelope.Workers(u.segments))
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

// again decides what becomes of a file that has spoilt a pack: it is tried once
// more if it has changed, and then as it is, if nothing better is known of it.
func (u *upload) again(stop *stopped, tries int) {
	changed := errors.Is(stop.err, errChanged)
	switch {
	case changed && tries <= 1:
	case changed && tries == 2 && stop.it.mayTear():
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
		e.Extents = []dataset.Extent{j.extent}
		j.record = append(j.record, &e)
	}
}

// An offsetWriter knows how far it has written.
type offsetWriter struct {
	w io.Writer
	n int64
}

func (w *offsetWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.n += int64(n)
	return n, err
}

// A tarWriter writes the tar of one attempt to send a pack.
type tarWriter struct {
	*upload
	ctx  context.Context
	sums *sums
	out  *offsetWriter
	tar  *tar.Writer

	good    []*item // that are in the tar
	extents []dataset.Extent
}

// write writes the items to w. A *stopped error means that one of them has spoilt
// the tar.
func (t *tarWriter) write(w io.Writer, items []*item) error {
	t.good, t.extents = nil, nil
	t.out = &offsetWriter{w: w}
	t.tar = tar.NewWriter(t.out)
	for _, it := range items {
		if it.failed != nil {
			continue
		}
		if err := t.add(it); err != nil {
			return err
		}
	}
	if len(t.good) == 0 {
		return errEmptyPack
	}
	return t.tar.Close()
}

// add adds one file. One that cannot be read is marked failed.
func (t *tarWriter) add(it *item) error {
	f, err := t.openItem(t.ctx, it)
	if err != nil {
		it.failed = err
		return nil
	}
	defer func() { f.Close() }() // readStable may open it anew
	if t.out.n+tarSize(it.entry)+tarEnd > t.PackSize && it.entry.Size > it.planned {
		it.failed = errChanged // it has grown, and the pack has no room for that
		return nil
	}
	t.sums.reset()
	var at int64
	if it.entry.Size <= inMemory {
		b, err := t.readStable(t.ctx, &f, it)
		if err != nil {
			it.failed = err
			return nil
		}
		if at, err = t.header(it); err != nil {
			return err
		}
		if _, err := t.tar.Write(b); err != nil {
			return err
		}
		t.sums.Write(b)
		t.SentBytes.Add(int64(len(b)))
	} else {
		if at, err = t.header(it); err != nil {
			return err
		}
		if err := t.copyStable(t.tar, t.sums, f, it, 0, it.entry.Size); err != nil {
			return err
		}
	}
	if err := t.tar.Flush(); err != nil {
		return err
	}
	t.good = append(t.good, it)
	t.extents = append(t.extents, dataset.Extent{Offset: at, Length: it.entry.Size, Sum: t.sums.take(it.entry)})
	return nil
}

// header writes the file's header and reports where its contents begin.
func (t *tarWriter) header(it *item) (at int64, err error) {
	err = t.tar.WriteHeader(dataset.TarHeader(it.entry))
	return t.out.n, err
}

// sendPiece brings one piece of a large file into the vault. What is wrong with
// the file is left to the finisher, which sees all pieces.
func (u *upload) sendPiece(ctx context.Context, j *job) error {
	it := j.items[0]
	settle(ctx, it.entry)
	f, err := openSource(it.file)
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
	pack, err := u.dataset.WritePack(ctx, u.key, func(w io.Writer) error {
		sum.Reset()
		return u.copyStable(w, sum, f, it, j.off, j.n)
	}, envelope.Workers(u.segments))
	var stop *stopped
	if errors.As(err, &stop) {
		return stop
	}
	if err != nil {
		return fmt.Errorf("writing a pack: %w", err)
	}
	j.pack = &pack
	j.extent = dataset.Extent{Pack: j.pack, Length: j.n, At: j.off, Sum: sum.Sum()}
	u.packDone(j, j.items)
	return nil
}
