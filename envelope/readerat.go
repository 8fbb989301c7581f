package envelope

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
)

// A ReaderAt opens any range of a sealed file, by 16 KiB chunks. It is safe for
// concurrent use if its source is. After an authentication failure every
// further call fails too; errors of the source are not sticky.
type ReaderAt struct {
	src       io.ReaderAt
	header    Header
	headerLen int64
	key       []byte
	size      int64
	failed    atomic.Bool

	// Deriving a segment's key costs as much as opening some chunks, and
	// neighbouring reads share it.
	cache [64]atomic.Pointer[openedSegment]
}

type openedSegment struct {
	number  uint64
	message cobblestone.Message // copied for each use: it has a scratch nonce
}

// NewReaderAt reads the header of the sealed file in src, which has sealedSize
// bytes, and authenticates the last segment, so that Size can be believed.
func NewReaderAt(src io.ReaderAt, sealedSize int64, kind Kind, key *DataKey) (*ReaderAt, error) {
	h, err := ReadHeader(io.NewSectionReader(src, 0, sealedSize))
	if err != nil {
		return nil, err
	}
	if h.Kind != kind {
		return nil, ErrAuthentication
	}
	return newReaderAt(src, sealedSize, h, key)
}

func newReaderAt(src io.ReaderAt, sealedSize int64, h Header, key *DataKey) (*ReaderAt, error) {
	if h.KeyID != key.id {
		return nil, ErrAuthentication
	}
	r := &ReaderAt{src: src, header: h, headerLen: h.Size()}
	var err error
	if r.size, err = PlaintextSize(sealedSize - r.headerLen + HeaderSize); err != nil {
		return nil, err
	}
	if r.key, err = key.objectKey(h); err != nil {
		return nil, err
	}
	// A last chunk that opens as the last of its segment, and a segment that
	// opens as the last of the file, prove the size.
	last := r.size % SegmentSize / cobblestone.ChunkSize
	var buf [cobblestone.ChunkSize]byte
	err = r.readSegment(buf[:r.size%cobblestone.ChunkSize], uint64(r.size/SegmentSize), last*cobblestone.ChunkSize)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Header is the sealed file's header.
func (r *ReaderAt) Header() Header { return r.header }

// Size is the authenticated number of plaintext bytes.
func (r *ReaderAt) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt. Reads over several segments open them in
// parallel. On an error p holds n bytes of authenticated plaintext.
func (r *ReaderAt) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("envelope.ReaderAt: negative offset")
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
		from = max(0, int((first+int64(k))*SegmentSize-off))
		return from, min(len(p), int((first+int64(k)+1)*SegmentSize-off))
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
	errs := make([]error, count)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(count, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for k := int(next.Add(1)) - 1; k < count; k = int(next.Add(1)) - 1 {
				errs[k] = read(k)
			}
		})
	}
	wg.Wait()
	for k, err := range errs {
		if err != nil {
			from, _ := piece(k)
			clear(p[from:])
			return from, err
		}
	}
	return len(p), nil
}

var chunksPool = sync.Pool{New: func() any { b := make([]byte, 0, sealedSegment); return &b }}

// readSegment fills p from the offset at in segment i. p lies in the segment as
// a whole. On an error p holds no plaintext.
func (r *ReaderAt) readSegment(p []byte, i uint64, at int64) error {
	start := r.headerLen + int64(i)*sealedSegment
	plain := int64(SegmentSize) // of this segment
	if rest := r.size - int64(i)*SegmentSize; rest < SegmentSize {
		plain = rest
	}
	firstChunk := at / cobblestone.ChunkSize
	lastChunk := max(at, at+int64(len(p))-1) / cobblestone.ChunkSize
	end := min((lastChunk+1)*cobblestone.SealedChunk, cobblestone.SealedSize(plain)-cobblestone.HeaderSize)

	bufp := chunksPool.Get().(*[]byte)
	defer chunksPool.Put(bufp)
	m, ok := r.cached(i)
	from := firstChunk * cobblestone.SealedChunk
	var body []byte
	switch {
	case ok, firstChunk > 0:
		if !ok {
			header := (*bufp)[:cobblestone.HeaderSize]
			if err := r.readSource(header, start); err != nil {
				return err
			}
			if err := r.derive(&m, i, header); err != nil {
				return err
			}
		}
		body = (*bufp)[:end-from]
		if err := r.readSource(body, start+cobblestone.HeaderSize+from); err != nil {
			return err
		}
	default: // the header and the chunks are one read
		body = (*bufp)[:cobblestone.HeaderSize+end]
		if err := r.readSource(body, start); err != nil {
			return err
		}
		if err := r.derive(&m, i, body); err != nil {
			return err
		}
		body = body[cobblestone.HeaderSize:]
	}
	skip := int(at - firstChunk*cobblestone.ChunkSize)
	if err := openChunks(&m, p, body, uint64(firstChunk), skip); err != nil {
		clear(p)
		return ErrAuthentication
	}
	return nil
}

// openChunks opens the sealed chunks in body, numbered from first, into p,
// without the first skip bytes and what p has no room for.
func openChunks(m *cobblestone.Message, p, body []byte, first uint64, skip int) error {
	for n := first; ; n++ {
		sealed := body[:min(len(body), cobblestone.SealedChunk)]
		body = body[len(sealed):]
		size := len(sealed) - cobblestone.TagSize
		if skip == 0 && size <= len(p) {
			if _, err := m.OpenChunk(p[:0], sealed, n); err != nil {
				return err
			}
			p = p[size:]
		} else {
			// In place: sealed is a buffer of ours that nothing reads again.
			plain, err := m.OpenChunk(sealed[:0], sealed, n)
			if err != nil {
				return err
			}
			p = p[copy(p, plain[skip:]):]
			skip = 0
		}
		if len(body) == 0 {
			return nil
		}
	}
}

func (r *ReaderAt) cached(i uint64) (m cobblestone.Message, ok bool) {
	if s := r.cache[i%uint64(len(r.cache))].Load(); s != nil && s.number == i {
		return s.message, true
	}
	return m, false
}

// derive checks the commitment of segment i and keeps its key.
func (r *ReaderAt) derive(m *cobblestone.Message, i uint64, header []byte) error {
	opened, err := cobblestone.NewOpener(r.key, segmentContext(i), header)
	if err == cobblestone.ErrOpen {
		return ErrAuthentication
	}
	if err != nil {
		return err
	}
	*m = *opened
	r.cache[i%uint64(len(r.cache))].Store(&openedSegment{i, *opened})
	return nil
}

// readSource fills b. A source that ends before the size it was said to have is
// a truncated one.
func (r *ReaderAt) readSource(b []byte, off int64) error {
	n, err := r.src.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrAuthentication
	}
	return fmt.Errorf("reading the sealed file: %w", err)
}
