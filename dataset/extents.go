package dataset

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// A FileError is what went wrong with one file, or with the pack that it lies in.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string { return fmt.Sprintf("%q: %v", e.Path, e.Err) }
func (e *FileError) Unwrap() error { return e.Err }

// A piece is one extent of one entry, to be read from its pack.
type piece struct {
	entry  *tree.Entry
	extent tree.Extent
}

// A takePiece function takes the bytes of one piece. It must read r to the end.
// It is called from several goroutines, for one entry too if that lies in
// several packs.
type takePiece func(e *tree.Entry, x tree.Extent, r io.Reader) error

// packReads sorts the pieces of the entries by pack.
func packReads(entries []*tree.Entry) [][]piece {
	byPack := map[envelope.ObjectID]int{}
	var reads [][]piece
	for _, e := range entries {
		for _, x := range e.Extents {
			i, ok := byPack[x.Pack.ID]
			if !ok {
				i = len(reads)
				byPack[x.Pack.ID] = i
				reads = append(reads, nil)
			}
			reads[i] = append(reads[i], piece{e, x})
		}
	}
	for i, pieces := range reads {
		slices.SortFunc(pieces, func(a, b piece) int { return cmp.Compare(a.extent.Offset, b.extent.Offset) })
		// Files with the same contents share them.
		again := rounds(pieces)
		reads[i] = again[0]
		reads = append(reads, again[1:]...)
	}
	return reads
}

// rounds divides pieces of a pack, sorted by offset, so that in each round no two
// of them overlap: a pack is read forwards, once for each round.
func rounds(pieces []piece) [][]piece {
	var out [][]piece
	for len(pieces) > 0 {
		var now, later []piece
		end := int64(0)
		for _, p := range pieces {
			if p.extent.Offset < end {
				later = append(later, p)
				continue
			}
			now = append(now, p)
			end = p.extent.Offset + p.extent.Length
		}
		out, pieces = append(out, now), later
	}
	return out
}

// packReaders is how many packs are read at once: more than there are cores,
// since each waits for the store, for its own segments and for the disk in turn.
// openWorkers is how many segments of each are opened at once. Together they
// take some 3 MiB for each segment.
func packReaders() int { return min(max(4, 2*runtime.GOMAXPROCS(0)), 16) }
func openWorkers() int { return min(max(2, 2*runtime.GOMAXPROCS(0)/packReaders()), 12) }

// readExtents reads the entries' extents, a pack a worker, and gives each to take.
// A pack that fails does not stop the others: failed is told each piece that
// take has not taken, or that lies in a pack whose bytes proved to be others
// than the pinned ones after take had taken it.
func (d *Dataset) readExtents(ctx context.Context, entries []*tree.Entry, take takePiece, failed func(*tree.Entry, error)) error {
	// What is being read goes on where one panics: it would else be told to have failed.
	workers.Run(ctx, packReaders(), func(_ context.Context, g *workers.Group) error {
		for _, pieces := range packReads(entries) {
			g.Go(func() error {
				d.readPack(ctx, pieces, take, failed)
				return nil
			})
		}
		return nil
	})
	return ctx.Err()
}

// readPack reads pieces of one pack, sorted by offset.
func (d *Dataset) readPack(ctx context.Context, pieces []piece, take takePiece, failed func(*tree.Entry, error)) {
	pack := pieces[0].extent.Pack
	size, err := pack.PlaintextSize()
	wanted := int64(0)
	for rest := pieces; len(rest) > 0; {
		n, start, end := nextRun(rest)
		wanted += end - start
		rest = rest[n:]
	}
	for len(pieces) > 0 && err == nil {
		var done int
		if wanted >= size/2 || size-wanted < envelope.SegmentSize {
			// Most of it: read it whole, and compare the pin at the end. So
			// restoring all of a version notices every change of its packs.
			done, err = d.readWholePack(ctx, pack, pieces, take, failed)
		} else {
			done, err = d.readRun(ctx, pack, size, pieces, take, failed)
		}
		pieces = pieces[done:]
	}
	for _, p := range pieces {
		failed(p.entry, err)
	}
}

// readWholePack reads the pack from its first byte to its last, and tells how
// many of the pieces, from the first on, are authentic.
func (d *Dataset) readWholePack(ctx context.Context, pack *tree.Object, pieces []piece, take takePiece, failed func(*tree.Entry, error)) (done int, err error) {
	r, closer, err := d.openPack(ctx, pack)
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	s := &sequence{ctx: ctx, d: d, r: r}
	for i, p := range pieces {
		if err := s.give(p, take, failed); err != nil {
			return i, d.packError(pack, err)
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return 0, d.packError(pack, err)
	}
	if r.Pin() != pack.Pin {
		return 0, d.packError(pack, envelope.ErrAuthentication)
	}
	return len(pieces), nil
}

// nextRun is how many of the pieces, from the first on, lie so close to one
// another that they are read with one request, and the bytes that these take.
func nextRun(pieces []piece) (n int, start, end int64) {
	for ; n < len(pieces); n++ {
		x := pieces[n].extent
		if n == 0 {
			start, end = x.Offset, x.Offset
		}
		if x.Offset > end+envelope.SegmentSize {
			break
		}
		end = max(end, x.Offset+x.Length)
	}
	return n, start, end
}

// readRun reads, with one request, the first of the pieces and those that lie
// close behind it, and tells how many it has dealt with.
func (d *Dataset) readRun(ctx context.Context, pack *tree.Object, size int64, pieces []piece, take takePiece, failed func(*tree.Entry, error)) (done int, err error) {
	n, start, end := nextRun(pieces)
	r, closer, err := d.openRange(ctx, pack, size, start, end-start)
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	s := &sequence{ctx: ctx, d: d, r: r, at: start}
	for i, p := range pieces[:n] {
		if err := s.give(p, take, failed); err != nil {
			return i, d.packError(pack, err)
		}
	}
	return n, nil
}

// openPack opens the whole of a pack. After io.EOF its Pin is to be compared.
func (d *Dataset) openPack(ctx context.Context, pack *tree.Object) (*envelope.Reader, io.Closer, error) {
	key, err := d.Key(ctx, pack.KeyID)
	if err != nil {
		return nil, nil, err
	}
	src, err := d.open(ctx, d.PackName(pack.ID), 0, -1)
	if err != nil {
		return nil, nil, d.damagedPack(pack, err)
	}
	r, err := headerOf(*pack, envelope.KindPack).OpenExact(src, key, envelope.Workers(openWorkers()))
	if err != nil {
		src.Close()
		return nil, nil, d.packError(pack, err)
	}
	return r, src, nil
}

// openRange opens n bytes from off of a pack, with one request.
func (d *Dataset) openRange(ctx context.Context, pack *tree.Object, size, off, n int64) (*envelope.Reader, io.Closer, error) {
	key, err := d.Key(ctx, pack.KeyID)
	if err != nil {
		return nil, nil, err
	}
	from, length := envelope.SegmentRange(size, off, n)
	src, err := d.open(ctx, d.PackName(pack.ID), from, length)
	if err != nil {
		return nil, nil, d.damagedPack(pack, err)
	}
	r, err := headerOf(*pack, envelope.KindPack).OpenRange(src, key, size, off, n, envelope.Workers(openWorkers()))
	if err != nil {
		src.Close()
		return nil, nil, d.packError(pack, err)
	}
	return r, src, nil
}

func (d *Dataset) packError(pack *tree.Object, err error) error {
	return d.damagedPack(pack, fmt.Errorf("%s: %w", d.PackName(pack.ID), err))
}

// A sequence gives pieces out of a pack's plaintext, read forwards only.
type sequence struct {
	ctx context.Context
	d   *Dataset
	r   io.Reader
	at  int64
}

// give passes one piece to take. An error of the pack is returned; one of take
// alone is told to failed, and the next piece can follow.
func (s *sequence) give(p piece, take takePiece, failed func(*tree.Entry, error)) (err error) {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	skip := p.extent.Offset - s.at
	if skip < 0 {
		return errors.New("two files overlap in the pack")
	}
	if _, err := io.CopyN(io.Discard, s.r, skip); err != nil {
		return noEOF(err)
	}
	src := &sourceReader{r: io.LimitReader(s.r, p.extent.Length)}
	if src.sum, src.done, err = s.d.sumOf(s.ctx, p.extent); err != nil {
		return err
	}
	defer src.done()
	err = take(p.entry, p.extent, src)
	// What take has left is passed over.
	if src.err == nil {
		if _, cerr := io.Copy(io.Discard, src); cerr == nil && src.n != p.extent.Length {
			src.err = envelope.ErrAuthentication
		}
	}
	s.at = p.extent.Offset + p.extent.Length
	if src.err != nil {
		return src.err
	}
	if err == nil && src.sum != nil && src.sum.Sum() != p.extent.Sum {
		err = errSum
	}
	if err != nil {
		failed(p.entry, err)
	}
	return nil
}

// errSum is told of bytes that are authentic in their pack, and are not those that
// the index recorded: whoever wrote them made a mistake, or a forgery.
var errSum = fmt.Errorf("the contents do not have the recorded sum: %w", envelope.ErrAuthentication)

// sumOf starts the sum of an extent's bytes, or gives nil where none was recorded.
// done is called when it is no longer needed.
func (d *Dataset) sumOf(ctx context.Context, x tree.Extent) (h *envelope.ContentHash, done func(), err error) {
	if !x.HasSum() {
		return nil, func() {}, nil
	}
	h, err = d.ContentHash(ctx, x.Pack.KeyID)
	return h, func() { d.releaseHash(x.Pack.KeyID, h) }, err
}

// ContentHash is a hash for the sums of what packs under a data key hold.
func (d *Dataset) ContentHash(ctx context.Context, id envelope.KeyID) (*envelope.ContentHash, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	pool, ok := d.hashes.Load(id)
	if ok {
		if h, ok := pool.(*sync.Pool).Get().(*envelope.ContentHash); ok {
			return h, nil
		}
	}
	key, err := d.Key(ctx, id)
	if err != nil {
		return nil, err
	}
	return envelope.NewContentHash(key)
}

// releaseHash keeps a hash for the next user.
func (d *Dataset) releaseHash(id envelope.KeyID, h *envelope.ContentHash) {
	if h == nil {
		return
	}
	h.Reset()
	pool, _ := d.hashes.LoadOrStore(id, new(sync.Pool))
	pool.(*sync.Pool).Put(h)
}

func noEOF(err error) error {
	if err == io.EOF {
		return envelope.ErrAuthentication
	}
	return err
}

// A sourceReader remembers an error of the source, to tell it from one of the
// destination, and adds what is read to a sum.
type sourceReader struct {
	r    io.Reader
	n    int64
	sum  *envelope.ContentHash // nil where none was recorded
	done func()
	err  error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if s.sum != nil {
		s.sum.Write(p[:n])
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// WriteFile writes the contents of one file of the version to w, in order.
// If the contents prove not to have a recorded sum, that is known at the end only.
func (v *Version) WriteFile(ctx context.Context, w io.Writer, e *tree.Entry) (err error) {
	if err := v.begin(ctx); err != nil {
		return err
	}
	defer func() { err = v.dataset.because(err) }()
	whole := sha256.New()
	if e.Sum != nil {
		w = io.MultiWriter(w, whole)
	}
	for _, x := range e.Extents {
		if x.Length == 0 {
			continue
		}
		size, err := x.Pack.PlaintextSize()
		if err != nil {
			return v.dataset.packError(x.Pack, err)
		}
		r, closer, err := v.dataset.openRange(ctx, x.Pack, size, x.Offset, x.Length)
		if err != nil {
			return err
		}
		err = v.dataset.copyExtent(ctx, w, r, x)
		closer.Close()
		if err != nil {
			return v.dataset.packError(x.Pack, err)
		}
	}
	if e.Sum != nil && !bytes.Equal(whole.Sum(nil), e.Sum) {
		return errSHA256
	}
	return nil
}

// copyExtent writes the bytes of an extent to w and compares their sum.
func (d *Dataset) copyExtent(ctx context.Context, w io.Writer, r io.Reader, x tree.Extent) error {
	sum, done, err := d.sumOf(ctx, x)
	if err != nil {
		return err
	}
	defer done()
	if sum != nil {
		r = io.TeeReader(r, sum)
	}
	n, err := io.Copy(w, r)
	if err == nil && n != x.Length {
		err = envelope.ErrAuthentication
	}
	if err == nil && sum != nil && sum.Sum() != x.Sum {
		err = errSum
	}
	return err
}

// headerOf is the header that the object must have.
func headerOf(o tree.Object, kind envelope.Kind) envelope.Header {
	return envelope.Header{Kind: kind, KeyID: o.KeyID, ObjectID: o.ID}
}
