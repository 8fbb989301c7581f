package envelope

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
)

// A ReaderAt opens any range of a sealed file, by 16 KiB chunks. It is safe for
// concurrent use if its source is. After an authentication failure every
// further call fails too; errors of the source are not sticky. The contents of
// a *bytes.Reader are opened in place and must not change meanwhile.
//
// A ReaderAt must not be copied.
type ReaderAt struct {
	self      *ReaderAt
	src       source
	header    Header
	headerLen int64
	size      int64
	opts      options
	optErr    error
	failed    atomic.Bool
	closed    atomic.Bool

	key *secret

	// Deriving a segment's key costs as much as opening some chunks, and later
	// reads share it.
	cache []atomic.Pointer[openedSegment]
}

// maxCached is how many segments' keys are kept: those of 1 GiB, in less than
// 1 MiB of memory.
const maxCached = 1024

type openedSegment struct {
	number  uint64
	message cobblestone.Message // copied for each use: it has a scratch nonce
}

// NewReaderAt reads the header of the sealed file in src, which has sealedSize
// bytes, and authenticates the last segment, so that Size is authentic.
func NewReaderAt(src io.ReaderAt, sealedSize int64, kind Kind, key *DataKey, opts ...Option) (*ReaderAt, error) {
	if src == nil {
		return nil, errNilSource
	}
	h, err := ReadHeader(io.NewSectionReader(src, 0, sealedSize))
	if err != nil {
		return nil, err
	}
	if h.Kind != kind {
		return nil, ErrAuthentication
	}
	return newReaderAt(src, sealedSize, h, key, opts)
}

func newReaderAt(src io.ReaderAt, sealedSize int64, h Header, key *DataKey, opts []Option) (*ReaderAt, error) {
	size, err := PlaintextSize(sealedSize - h.Size() + HeaderSize)
	if err != nil {
		return nil, err
	}
	r, err := h.readerAt(src, key, size, opts)
	if err != nil {
		return nil, err
	}
	// A last chunk that opens as the last of its segment, and a segment that
	// opens as the last of the file, prove the size.
	last := size % SegmentSize / cobblestone.ChunkSize
	var buf [cobblestone.ChunkSize]byte
	err = r.readSegment(buf[:size%cobblestone.ChunkSize], uint64(size/SegmentSize), last*cobblestone.ChunkSize)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// OpenAt opens any range of a sealed file whose header and plaintext size the
// caller knows from an authenticated source: src is read at the first ReadAt,
// and only where [ChunkRange] says. The keyring of the file is kept elsewhere.
func (h Header) OpenAt(src io.ReaderAt, key *DataKey, size int64, opts ...Option) (*ReaderAt, error) {
	switch {
	case src == nil:
		return nil, errNilSource
	case h.Keyring != nil:
		return nil, errors.New("envelope: a header with a keyring, where it has to be kept elsewhere")
	}
	if err := checkRange(size, 0, 0); err != nil {
		return nil, err
	}
	return h.readerAt(src, key, size, opts)
}

// readerAt returns a ReaderAt that has read nothing.
func (h Header) readerAt(src io.ReaderAt, key *DataKey, size int64, opts []Option) (*ReaderAt, error) {
	r := &ReaderAt{src: newSource(src), header: h, headerLen: h.Size(), size: size, opts: defaults()}
	r.self = r
	err := r.opts.apply(opts)
	if err != nil {
		return nil, err
	}
	if r.key, err = h.key(key); err != nil {
		return nil, err
	}
	r.cache = make([]atomic.Pointer[openedSegment], min(r.size/SegmentSize+1, maxCached))
	return r, nil
}

// Use sets options, as those of NewReaderAt, for later reads. It is for
// ReaderAts that [OpenAt] returns, and must not be called during a read. A nil
// option makes later reads fail.
func (r *ReaderAt) Use(opts ...Option) {
	if r.usable() == nil {
		r.optErr = r.opts.apply(opts)
	}
}

// usable is the error of a ReaderAt that is none.
func (r *ReaderAt) usable() error {
	switch {
	case r == nil || r.self == nil:
		return errors.New("the envelope.ReaderAt is nil or a zero value: it is got from OpenAt or NewReaderAt")
	case r.self != r:
		return errors.New("the envelope.ReaderAt is a copy by value; use the pointer that OpenAt or NewReaderAt has returned")
	}
	return r.optErr
}

// Close wipes the key. Later reads return an error that wraps fs.ErrClosed. It
// does not close the source, and returns nil.
func (r *ReaderAt) Close() error {
	if r == nil || r.self != r || r.key == nil {
		return r.usable()
	}
	r.closed.Store(true)
	r.key.wipe() // and then the cache, which nothing is put into any more
	for i := range r.cache {
		r.cache[i].Store(nil)
	}
	return nil
}

// Format keeps every verb of fmt from printing what is inside.
func (r *ReaderAt) Format(s fmt.State, _ rune) {
	h := r.Header()
	fmt.Fprintf(s, "envelope.ReaderAt of %s %s", h.Kind, h.ObjectID)
}

// Header returns the sealed file's header.
func (r *ReaderAt) Header() Header {
	if r == nil {
		return Header{}
	}
	return r.header
}

// Size returns the authenticated number of plaintext bytes.
func (r *ReaderAt) Size() int64 {
	if r == nil {
		return 0
	}
	return r.size
}

// ReadAt implements io.ReaderAt. A read of several segments opens them in
// parallel. On an error, p holds n bytes of authenticated plaintext.
func (r *ReaderAt) ReadAt(p []byte, off int64) (n int, err error) {
	if err := r.usable(); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, errors.New("envelope.ReaderAt: negative offset")
	}
	if r.closed.Load() {
		return 0, errReaderAtClosed
	}
	if r.failed.Load() {
		return 0, ErrAuthentication
	}
	if off >= r.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > r.size-off
	if short {
		p = p[:r.size-off]
	}
	n, err = r.readSegments(p, off)
	if errors.Is(err, ErrAuthentication) {
		r.failed.Store(true)
	}
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

func (r *ReaderAt) readSegments(p []byte, off int64) (int, error) {
	first := off / SegmentSize
	count := int((off+int64(len(p))-1)/SegmentSize-first) + 1
	if len(p) == 0 {
		return 0, nil
	}
	// piece is the part of p that lies in the k-th segment of the range.
	piece := func(k int) (from, to int) {
		start := (first+int64(k))*SegmentSize - off
		return int(max(0, start)), int(min(int64(len(p)), start+SegmentSize))
	}
	read := func(k int) error {
		from, to := piece(k)
		return r.readSegment(p[from:to], uint64(first)+uint64(k), (off+int64(from))%SegmentSize)
	}
	if count == 1 {
		if err := read(0); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	workers, _ := r.opts.limits()
	errs, panics := make([]error, count), make([]*thrown, count)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(count, workers) {
		wg.Go(func() {
			for k := int(next.Add(1)) - 1; k < count; k = int(next.Add(1)) - 1 {
				panics[k] = catch(&errs[k], func() error { return read(k) })
			}
		})
	}
	wg.Wait()
	for k, err := range errs {
		if err != nil {
			from, _ := piece(k)
			clear(p[from:])
			if panics[k] != nil {
				panic(panics[k].value)
			}
			return from, err
		}
	}
	return len(p), nil
}

// readSegment fills p from the offset at in segment i. p lies in the segment as
// a whole. On an error p holds no plaintext.
func (r *ReaderAt) readSegment(p []byte, i uint64, at int64) (err error) {
	start := r.headerLen + int64(i)*sealedSegment
	plain := int64(SegmentSize) // of this segment
	if rest := r.size - int64(i)*SegmentSize; rest < SegmentSize {
		plain = rest
	}
	chunk := at / cobblestone.ChunkSize
	lastChunk := max(at, at+int64(len(p))-1) / cobblestone.ChunkSize
	// The sealed chunks from pos to end are read, counted from the first one.
	pos := chunk * cobblestone.SealedChunk
	if lastChunk++; lastChunk == plain/cobblestone.ChunkSize {
		lastChunk++ // the short one after it too, which may be empty: reading all opens every tag
	}
	end := min(lastChunk*cobblestone.SealedChunk, cobblestone.SealedSize(plain)-cobblestone.HeaderSize)
	skip := int(at - chunk*cobblestone.ChunkSize)
	pieceSize := int64(r.src.piece * cobblestone.SealedChunk)

	bufp := r.src.buffers().Get().(*[]byte)
	defer r.src.buffers().Put(bufp)
	all, whole := p, false
	defer func() {
		if !whole {
			clear(all)
		}
	}()
	m, ok := r.cached(i)
	if !ok && chunk > 0 {
		header, err := r.take((*bufp)[:cobblestone.HeaderSize], start)
		if err != nil {
			return err
		}
		if err := r.derive(&m, i, header); err != nil {
			return err
		}
		ok = true
	}
	for pos < end {
		size, at := min(end-pos, pieceSize), start+cobblestone.HeaderSize+pos
		if !ok { // the header and the chunks are one read
			size, at = cobblestone.HeaderSize+size, start
		}
		body, err := r.take((*bufp)[:size], at)
		if err != nil {
			return err
		}
		if !ok {
			if err := r.derive(&m, i, body); err != nil {
				return err
			}
			ok, body = true, body[cobblestone.HeaderSize:]
		}
		if p, err = openChunks(&m, p, body, uint64(chunk), skip); err != nil {
			return ErrAuthentication
		}
		pos, chunk, skip = pos+int64(len(body)), chunk+int64(r.src.piece), 0
	}
	whole = true
	return nil
}

// openChunks opens the sealed chunks in body, numbered from first, into p,
// without the first skip bytes and what p has no room for. It returns the rest
// of p.
func openChunks(m *cobblestone.Message, p, body []byte, first uint64, skip int) ([]byte, error) {
	for n := first; len(body) > 0; n++ {
		sealed := body[:min(len(body), cobblestone.SealedChunk)]
		body = body[len(sealed):]
		size := len(sealed) - cobblestone.TagSize
		if skip == 0 && size <= len(p) {
			if _, err := m.OpenChunk(p[:0], sealed, n); err != nil {
				return nil, err
			}
			p = p[size:]
		} else {
			scratch := chunkPool.Get().(*[]byte)
			plain, err := m.OpenChunk((*scratch)[:0], sealed, n)
			if err == nil {
				p = p[copy(p, plain[skip:]):]
				skip = 0
			}
			chunkPool.Put(scratch)
			if err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func (r *ReaderAt) cached(i uint64) (m cobblestone.Message, ok bool) {
	if s := r.cache[i%uint64(len(r.cache))].Load(); s != nil && s.number == i {
		return s.message, true
	}
	return m, false
}

// derive checks the commitment of segment i and keeps its key.
func (r *ReaderAt) derive(m *cobblestone.Message, i uint64, header []byte) error {
	key, err := r.key.acquire()
	if err != nil {
		return errReaderAtClosed
	}
	defer r.key.release() // so that Close finds in the cache whatever is put there
	opened, err := cobblestone.NewOpener(key, segmentContext(i), header)
	if err != nil {
		return authentication(err)
	}
	*m = *opened
	r.cache[i%uint64(len(r.cache))].Store(&openedSegment{i, *opened})
	return nil
}

var errReaderAtClosed = fmt.Errorf("read from a closed envelope.ReaderAt: %w", fs.ErrClosed)

// take is that of the source. A source that ends before the size it was said to
// have is a truncated one.
func (r *ReaderAt) take(buf []byte, off int64) ([]byte, error) {
	b, err := r.src.take(buf, off)
	switch err {
	case nil:
		return b, nil
	case errEnds:
		return nil, ErrAuthentication
	}
	return nil, fmt.Errorf("reading the sealed file: %w", err)
}

var chunkPool = sync.Pool{New: func() any { b := make([]byte, cobblestone.ChunkSize); return &b }}
