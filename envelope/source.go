package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
)

// A source can be read at several offsets at once, so that every worker reads
// what it seals or opens.
type source struct {
	io.ReaderAt
	piece  int    // chunks to read at a time
	memory []byte // all of the source, where it lies in memory
}

const (
	// localPiece is 128 KiB, small beside a core's second-level cache.
	localPiece = 8
	// remotePiece is a whole segment: every read may be a request to somewhere.
	remotePiece = SegmentSize/cobblestone.ChunkSize + 1
)

func newSource(r io.ReaderAt) source {
	inner, off, size := r, int64(0), int64(-1)
	if s, ok := r.(*io.SectionReader); ok {
		inner, off, size = s.Outer()
	}
	switch inner := inner.(type) {
	case *os.File:
		return source{ReaderAt: r, piece: localPiece}
	case *bytes.Reader:
		if inner == nil || off < 0 {
			break // its errors are its own
		}
		memory := bytesOf(inner)
		memory = memory[min(off, int64(len(memory))):]
		if size >= 0 {
			memory = memory[:min(size, int64(len(memory)))]
		}
		return source{ReaderAt: r, piece: localPiece, memory: memory}
	}
	return source{ReaderAt: r, piece: remotePiece}
}

// bytesOf is what r reads from, all of it. To copy it would take a third of the
// time that opening takes.
func bytesOf(r *bytes.Reader) []byte {
	c := *r
	c.Seek(0, io.SeekStart)
	var k keeper
	c.WriteTo(&k)
	return k
}

// A keeper keeps what is written to it, which for the memory of a bytes.Reader
// is no more than that does itself.
type keeper []byte

func (k *keeper) Write(p []byte) (int, error) {
	*k = p
	return len(p), nil
}

// seekable returns r as a source, with r's offset and the number of bytes from
// there, if r can be one and has more than a segment. A reader of unknown type
// may do more in Read than ReadAt knows of.
func seekable(r io.Reader) (s source, off, left int64, ok bool) {
	var seeker interface {
		io.ReaderAt
		io.Seeker
	}
	var size int64
	switch r := r.(type) {
	case *os.File:
		info, err := r.Stat()
		if err != nil || !info.Mode().IsRegular() {
			return source{}, 0, 0, false
		}
		seeker, size = r, info.Size()
	case *io.SectionReader:
		seeker, size = r, r.Size()
	case *bytes.Reader:
		seeker, size = r, r.Size()
	default:
		return source{}, 0, 0, false
	}
	off, err := seeker.Seek(0, io.SeekCurrent)
	if err != nil || size-off <= SegmentSize {
		return source{}, 0, 0, false
	}
	return newSource(seeker), off, size - off, true
}

// sealFrom appends the sealed segment i of the SegmentSize bytes at off in src.
func sealFrom(dst []byte, objectKey *secret, i uint64, src source, off int64) ([]byte, error) {
	m, header, err := newSealer(objectKey, i)
	if err != nil {
		return nil, err
	}
	dst = append(dst, header[:]...)
	buf := src.buffers().Get().(*[]byte)
	defer src.buffers().Put(buf)
	n := uint64(0)
	for left := SegmentSize; left > 0; {
		piece, err := src.take((*buf)[:min(left, src.piece*cobblestone.ChunkSize)], off)
		if err == errEnds {
			return nil, fmt.Errorf("the source became shorter while it was read: %w", io.ErrUnexpectedEOF)
		} else if err != nil {
			return nil, err
		}
		left, off = left-len(piece), off+int64(len(piece))
		for ; len(piece) > 0; n++ {
			dst = m.SealChunk(dst, piece[:cobblestone.ChunkSize], n)
			piece = piece[cobblestone.ChunkSize:]
		}
	}
	return m.SealChunk(dst, nil, n), nil
}

// openFrom appends the plaintext of the segment i in the job's source. An error
// leaves none of it.
func openFrom(dst []byte, objectKey *secret, i uint64, j *job) (_ []byte, err error) {
	size, err := cobblestone.PlaintextSize(j.size)
	if err != nil {
		return nil, ErrAuthentication
	}
	start, whole := len(dst), false
	defer func() {
		if !whole {
			clear(dst[start : start+int(size)])
		}
	}()
	src := j.from
	buf := src.buffers().Get().(*[]byte)
	defer src.buffers().Put(buf)
	out, n := dst, uint64(0)
	var m *cobblestone.Message
	for left, off := j.size, j.off; left > 0; {
		pieceSize := int64(src.piece * cobblestone.SealedChunk)
		if m == nil {
			pieceSize += cobblestone.HeaderSize
		}
		piece, err := src.take((*buf)[:min(left, pieceSize)], off)
		if err == errEnds {
			return nil, ErrAuthentication // cut off since it was measured
		} else if err != nil {
			return nil, fmt.Errorf("reading the sealed file: %w", err)
		}
		left, off = left-int64(len(piece)), off+int64(len(piece))
		if m == nil {
			if m, err = newOpener(objectKey, i, piece); err != nil {
				return nil, err
			}
			copy(j.head[:], piece)
			piece = piece[cobblestone.HeaderSize:]
		}
		// The size of a message makes its last chunk a short one.
		for ; len(piece) > 0; n++ {
			sealed := piece[:min(len(piece), cobblestone.SealedChunk)]
			piece = piece[len(sealed):]
			if out, err = m.OpenChunk(out, sealed, n); err != nil {
				return nil, ErrAuthentication
			}
		}
	}
	whole = true
	return out, nil
}

// errEnds is an end before what was asked for. io.ErrUnexpectedEOF would not tell
// it from what a source says itself when its connection broke.
var errEnds = errors.New("the source ends")

// take returns len(buf) bytes from off, in buf or where they lie in memory: they
// must not be written to. It returns errEnds where the source ends before, which
// only io.EOF says: a source that reads short without an error is broken.
func (s source) take(buf []byte, off int64) ([]byte, error) {
	if s.memory != nil {
		if off < 0 || off > int64(len(s.memory))-int64(len(buf)) {
			return nil, errEnds
		}
		return s.memory[off:][:len(buf):len(buf)], nil
	}
	n, err := s.ReadAt(buf, off)
	switch {
	case n < 0 || n > len(buf):
		return nil, errInvalidRead
	case err != nil && err != io.EOF:
		return nil, err
	case n == len(buf):
		return buf, nil
	case err == nil:
		return nil, errShortRead
	}
	return nil, errEnds
}

var piecePool = sync.Pool{New: func() any {
	b := make([]byte, cobblestone.HeaderSize+localPiece*cobblestone.SealedChunk)
	return &b
}}

// buffers are for one piece with a segment's header before it.
func (s source) buffers() *sync.Pool {
	if s.piece > localPiece {
		return &sealedPool
	}
	return &piecePool
}

// A sink is a bytes.Buffer that results are computed straight into, within its
// spare capacity, while one call to a Writer or Reader lasts. It is nil for all
// other destinations.
type sink struct {
	buf   *bytes.Buffer
	ahead int // bytes of results on their way to the buffer
}

// sinkOf takes note of the bytes that are on their way to w already.
func sinkOf(w io.Writer, onTheWay int) *sink {
	if b, ok := w.(*bytes.Buffer); ok {
		return &sink{b, onTheWay}
	}
	return nil
}

// written takes note of a result that has reached the buffer.
func (s *sink) written(n int) {
	if s != nil {
		s.ahead -= n
	}
}

// place is where the next n bytes of the buffer will stand, with no length, or
// nil if there is no room for them yet.
func (s *sink) place(n int) []byte {
	if s == nil {
		return nil
	}
	free := s.buf.AvailableBuffer()
	start := s.ahead
	s.ahead += n
	// The spare MinRead keeps Buffer.ReadFrom from moving the buffer.
	if s.ahead+bytes.MinRead > cap(free) {
		return nil
	}
	return free[start:start:s.ahead]
}

// put appends b, which lies in its place already: Buffer.ReadFrom is asked to
// take its own bytes, and copies nothing.
func (s *sink) put(b []byte) error {
	_, err := s.buf.ReadFrom((*inPlace)(&b))
	return err
}

type inPlace []byte

func (b *inPlace) Read(p []byte) (n int, err error) {
	if n = min(len(p), len(*b)); n > 0 && &p[0] != &(*b)[0] {
		copy(p, *b)
	}
	if *b = (*b)[n:]; len(*b) == 0 {
		err = io.EOF
	}
	return n, err
}
