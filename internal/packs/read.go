// Package packs reads the contents of files from the packs that hold them, several
// packs at once.
package packs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// A Piece is one extent of one entry, to be read from its pack.
type Piece struct {
	Entry  *tree.Entry
	Extent tree.Extent
}

// A takePiece function takes the bytes of one piece. It must read r to the end. It is
// called from several goroutines, even for one entry if that lies in several packs.
type takePiece func(e *tree.Entry, x tree.Extent, r io.Reader) error

// PackReads sorts the pieces of the entries by pack.
func PackReads(entries []*tree.Entry) [][]Piece {
	byPack := map[envelope.ObjectID]int{}
	var reads [][]Piece
	for _, e := range entries {
		for _, x := range e.Extents {
			i, ok := byPack[x.Pack.ID]
			if !ok {
				i = len(reads)
				byPack[x.Pack.ID] = i
				reads = append(reads, nil)
			}
			reads[i] = append(reads[i], Piece{e, x})
		}
	}
	for i, pieces := range reads {
		slices.SortFunc(pieces, func(a, b Piece) int { return cmp.Compare(a.Extent.Offset, b.Extent.Offset) })
		// Files with the same contents share pieces.
		again := Rounds(pieces)
		reads[i] = again[0]
		reads = append(reads, again[1:]...)
	}
	return reads
}

// Rounds divides pieces of a pack, sorted by offset, so that no two pieces in one round
// overlap: a pack is read forward, once for each round.
func Rounds(pieces []Piece) [][]Piece {
	var out [][]Piece
	for len(pieces) > 0 {
		var now, later []Piece
		end := int64(0)
		for _, p := range pieces {
			if p.Extent.Offset < end {
				later = append(later, p)
				continue
			}
			now = append(now, p)
			end = p.Extent.Offset + p.Extent.Length
		}
		out, pieces = append(out, now), later
	}
	return out
}

// ReadExtents reads the entries' extents, one pack per worker, and passes each to take. A
// pack that fails does not stop the others: failed is called for each piece that take did
// not take, and for each piece of a pack whose bytes later turned out not to be the
// pinned ones.
func ReadExtents(ctx context.Context, d *objects.Set, entries []*tree.Entry, take takePiece, failed func(*tree.Entry, error)) error {
	// Running reads continue if one panics: otherwise they would be reported as failed.
	workers.Run(ctx, objects.PackReaders(), func(_ context.Context, g *workers.Group) error {
		for _, pieces := range PackReads(entries) {
			g.Go(func() error {
				ReadPack(ctx, d, pieces, take, failed)
				return nil
			})
		}
		return nil
	})
	return ctx.Err()
}

// ReadPack reads pieces of one pack, sorted by offset.
func ReadPack(ctx context.Context, d *objects.Set, pieces []Piece, take takePiece, failed func(*tree.Entry, error)) {
	pack := pieces[0].Extent.Pack
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
			// Most of it is needed: read all of it, and compare the pin at the end. So
			// restoring a whole version detects every change to its packs.
			done, err = ReadWholePack(ctx, d, pack, pieces, take, failed)
		} else {
			done, err = readRun(ctx, d, pack, size, pieces, take, failed)
		}
		pieces = pieces[done:]
	}
	for _, p := range pieces {
		failed(p.Entry, err)
	}
}

// ReadWholePack reads the pack from its first byte to its last, and returns how many of
// the pieces, from the first on, are authentic.
func ReadWholePack(ctx context.Context, d *objects.Set, pack *tree.Object, pieces []Piece, take takePiece, failed func(*tree.Entry, error)) (done int, err error) {
	r, closer, err := d.OpenPack(ctx, pack)
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	s := &sequence{ctx: ctx, d: d, r: r}
	for i, p := range pieces {
		if err := s.give(p, take, failed); err != nil {
			return i, d.PackError(pack, err)
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return 0, d.PackError(pack, err)
	}
	if r.Pin() != pack.Pin {
		return 0, d.PackError(pack, envelope.ErrAuthentication)
	}
	return len(pieces), nil
}

// nextRun returns how many of the pieces, from the first on, are so close together that
// they are read with one request, and how many bytes those take.
func nextRun(pieces []Piece) (n int, start, end int64) {
	for ; n < len(pieces); n++ {
		x := pieces[n].Extent
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

// readRun reads, with one request, the first of the pieces and those that follow
// closely, and returns how many it has processed.
func readRun(ctx context.Context, d *objects.Set, pack *tree.Object, size int64, pieces []Piece, take takePiece, failed func(*tree.Entry, error)) (done int, err error) {
	n, start, end := nextRun(pieces)
	r, closer, err := d.OpenRange(ctx, pack, size, start, end-start)
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	s := &sequence{ctx: ctx, d: d, r: r, at: start}
	for i, p := range pieces[:n] {
		if err := s.give(p, take, failed); err != nil {
			return i, d.PackError(pack, err)
		}
	}
	return n, nil
}

// A sequence reads pieces from a pack's plaintext, forward only.
type sequence struct {
	ctx context.Context
	d   *objects.Set
	r   io.Reader
	at  int64
}

// give passes one piece to take. It returns an error of the pack; an error of take alone
// is passed to failed, and the next piece can follow.
func (s *sequence) give(p Piece, take takePiece, failed func(*tree.Entry, error)) (err error) {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	skip := p.Extent.Offset - s.at
	if skip < 0 {
		return errors.New("two files overlap in the pack")
	}
	if _, err := io.CopyN(io.Discard, s.r, skip); err != nil {
		return NoEOF(err)
	}
	src := &sourceReader{r: io.LimitReader(s.r, p.Extent.Length)}
	if src.sum, src.done, err = sumOf(s.ctx, s.d, p.Extent); err != nil {
		return err
	}
	defer src.done()
	err = take(p.Entry, p.Extent, src)
	// Skip what take has not read.
	if src.err == nil {
		if _, cerr := io.Copy(io.Discard, src); cerr == nil && src.n != p.Extent.Length {
			src.err = envelope.ErrAuthentication
		}
	}
	s.at = p.Extent.Offset + p.Extent.Length
	if src.err != nil {
		return src.err
	}
	if err == nil && src.sum != nil && src.sum.Sum() != p.Extent.Sum {
		err = ErrSum
	}
	if err != nil {
		failed(p.Entry, err)
	}
	return nil
}

// ErrSum is reported for bytes that are authentic in their pack but not those that the
// index recorded: their writer made a mistake, or a forgery.
var ErrSum = fmt.Errorf("the contents do not have the recorded sum: %w", envelope.ErrAuthentication)

// sumOf starts the sum of an extent's bytes, or returns nil if none was recorded. done is
// called when it is no longer needed.
func sumOf(ctx context.Context, d *objects.Set, x tree.Extent) (h *envelope.ContentHash, done func(), err error) {
	if !x.HasSum() {
		return nil, func() {}, nil
	}
	h, err = d.ContentHash(ctx, x.Pack.KeyID)
	return h, func() { d.ReleaseHash(x.Pack.KeyID, h) }, err
}

func NoEOF(err error) error {
	if err == io.EOF {
		return envelope.ErrAuthentication
	}
	return err
}

// A sourceReader remembers an error of the source, to distinguish it from errors of the
// destination, and adds what it reads to a sum.
type sourceReader struct {
	r    io.Reader
	n    int64
	sum  *envelope.ContentHash // nil if none was recorded
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

// CopyExtent writes the bytes of an extent to w and compares their sum.
func CopyExtent(ctx context.Context, d *objects.Set, w io.Writer, r io.Reader, x tree.Extent) error {
	sum, done, err := sumOf(ctx, d, x)
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
		err = ErrSum
	}
	return err
}

// ErrSHA256 is reported for contents that do not have the recorded SHA-256.
var ErrSHA256 = fmt.Errorf("the contents do not have the recorded SHA-256: %w", envelope.ErrAuthentication)
