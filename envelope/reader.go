package envelope

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
)

// A Reader opens a sealed file. No byte is returned before its tag has been
// verified, and io.EOF only after the authenticated end of the file. Segments
// are opened in parallel, some of them ahead of what is returned, by the caller
// and by goroutines that compute and end; nothing is read before the first Read
// or WriteTo. Errors are sticky. A Reader is not safe for concurrent use.
//
// The source is read in order by the caller, but a regular *os.File and an
// *io.SectionReader at several offsets at once, as far as they reach at the
// first Read. What a *bytes.Reader holds is opened where it lies and must not
// change meanwhile. Into a *bytes.Buffer with room for the plaintext, WriteTo
// opens without a copy.
type Reader struct {
	src    io.Reader
	header Header
	key    *secret
	opts   options
	crew   *crew

	next   uint64 // the number of the next segment to read from src
	ends   int64  // sealed bytes still to come, or -1 where src's end tells
	ranged bool   // ends is authentic, and may be the end of a full segment
	window int    // segments to keep in flight; grows, so that the first comes soon
	flight []*job
	srcErr error // found while reading ahead, reported in its turn; io.EOF at the end
	cur    *job  // its plain is what has not yet been returned
	skip   int64 // plaintext bytes to pass over
	limit  int64 // plaintext bytes to return at most, or -1
	sink   *sink // while one call lasts
	pin    *pinner

	at  source // what src is, where that can be read at several offsets at once
	off int64  // of the next segment, in at

	err error
}

// NewReader reads the header from src and opens what follows it with key. A
// file of another kind or data key is ErrAuthentication; what is no sealed file
// is an error that wraps ErrFormat.
func NewReader(src io.Reader, kind Kind, key *DataKey, opts ...Option) (*Reader, error) {
	h, err := ReadHeader(src)
	if err != nil {
		return nil, err
	}
	return h.Open(src, kind, key, opts...)
}

// Open opens what follows a header that has been read from src, by
// [ReadHeader], to find the key: NewReader in two steps.
func (h Header) Open(src io.Reader, kind Kind, key *DataKey, opts ...Option) (*Reader, error) {
	if h.Kind != kind {
		return nil, ErrAuthentication
	}
	return newReader(src, h, key, opts)
}

// OpenExact opens the sealed file that the caller knows the header of, from
// elsewhere: any other, though it were sealed under the same key, is
// ErrAuthentication. src begins with the header.
func (h Header) OpenExact(src io.Reader, key *DataKey, opts ...Option) (*Reader, error) {
	want := h.appendTo(nil)
	got := make([]byte, len(want))
	if _, err := readFull(src, got); err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading the header: %w", err)
	} else if err == io.EOF || !bytes.Equal(got, want) {
		return nil, ErrAuthentication
	}
	return newReader(src, h, key, opts)
}

// OpenRange opens n plaintext bytes from off of a sealed file that the caller
// knows the header and the plaintext size of, from an authenticated source. src
// begins at the offset, and need not reach further than the length, that
// [SegmentRange] tells.
func (h Header) OpenRange(src io.Reader, key *DataKey, size, off, n int64, opts ...Option) (*Reader, error) {
	if off < 0 || n < 0 || off > size-n {
		return nil, fmt.Errorf("bytes %d to %d of a sealed file of %d", off, off+n, size)
	}
	r, err := newReader(src, h, key, opts)
	if err != nil {
		return nil, err
	}
	_, r.ends = SegmentRange(size, off, n)
	r.ranged = true
	r.next = uint64(off / SegmentSize)
	r.skip, r.limit = off%SegmentSize, n
	return r, nil
}

func newReader(src io.Reader, h Header, key *DataKey, opts []Option) (*Reader, error) {
	if h.KeyID != key.id {
		return nil, ErrAuthentication
	}
	objectKey, err := key.objectKey(h)
	if err != nil {
		return nil, err
	}
	r := &Reader{src: src, header: h, key: newSecret(objectKey), opts: applied(opts),
		ends: -1, window: 1, limit: -1, pin: newPinner(h.Size())}
	r.crew = &crew{run: r.open}
	r.Use()
	return r, nil
}

// Use sets options for what is opened from now on, as those of NewReader do. It
// is for the Readers of [Open].
func (r *Reader) Use(opts ...Option) {
	r.opts.apply(opts)
	r.crew.limit(r.opts)
	r.window = min(r.window, r.crew.depth)
}

// Format keeps every verb of fmt from printing what is inside.
func (r Reader) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "envelope.Reader of %s %s", r.header.Kind, r.header.ObjectID)
}

// Header is the sealed file's header.
func (r *Reader) Header() Header { return r.header }

// Pin names the bytes that were opened. It is complete when Read has returned
// io.EOF, or WriteTo nil.
func (r *Reader) Pin() Pin { return r.pin.pin() }

// Read returns authenticated plaintext.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.advance(); err != nil {
		return 0, err
	}
	n := copy(p, r.cur.plain)
	r.consumed(n)
	return n, nil
}

// WriteTo writes all of the plaintext that is left to w. After an error of w,
// what has not been written can still be read.
func (r *Reader) WriteTo(w io.Writer) (total int64, err error) {
	if r.skip == 0 && r.limit < 0 && r.cur == nil && len(r.flight) == 0 {
		r.sink = sinkOf(w, 0)
		defer func() { r.sink = nil }()
	}
	for {
		if err := r.advance(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		var n int
		if r.cur.placed {
			n = len(r.cur.plain)
			r.sink.written(n)
			err = r.sink.put(r.cur.plain)
		} else {
			r.sink.written(len(r.cur.plain))
			n, err = writeFull(w, r.cur.plain)
		}
		total += int64(n)
		r.consumed(n)
		if err != nil {
			return total, err
		}
	}
}

func (r *Reader) consumed(n int) {
	r.cur.plain = r.cur.plain[n:]
	if r.limit >= 0 {
		r.limit -= int64(n)
	}
}

// advance makes cur hold something, or returns the sticky error.
func (r *Reader) advance() error {
	for r.err == nil && (r.cur == nil || len(r.cur.plain) == 0) {
		if r.cur != nil {
			r.cur.release()
			r.cur = nil
		}
		if r.limit == 0 {
			r.fail(io.EOF)
			break
		}
		r.readAhead()
		if len(r.flight) == 0 {
			r.fail(r.srcErr)
			break
		}
		j := r.flight[0]
		r.flight = slices.Delete(r.flight, 0, 1)
		if err := r.crew.wait(j); err != nil {
			j.release()
			r.fail(err)
			break
		}
		r.pin.add(j.head[:], j.size)
		r.cur = j
		skip := min(r.skip, int64(len(j.plain)))
		j.plain, r.skip = j.plain[skip:], r.skip-skip
		if r.limit >= 0 {
			j.plain = j.plain[:min(int64(len(j.plain)), r.limit)]
		}
	}
	return r.err
}

// fail ends the stream for good, and lets the jobs in flight run out.
func (r *Reader) fail(err error) {
	r.err = err
	for _, j := range r.flight {
		r.crew.wait(j)
		if j.placed {
			clear(j.plain) // authentic, but after what was not
		}
		j.release()
	}
	r.flight = nil
	r.key.wipe()
	if s, ok := r.src.(io.Seeker); ok && err == io.EOF && r.at.ReaderAt != nil {
		s.Seek(r.off, io.SeekStart) // as if it had been read
	}
}

// readAhead reads segments from the source and begins to open them, up to the
// window.
func (r *Reader) readAhead() {
	if r.next == 0 && r.ends < 0 {
		if at, off, left, ok := seekable(r.src); ok {
			r.at, r.off, r.ends = at, off, left
		}
	}
	for len(r.flight) < r.window && r.srcErr == nil {
		want := int64(sealedSegment)
		if r.ends >= 0 {
			want = min(want, r.ends)
			r.ends -= want
		}
		j := newJob()
		if r.at.ReaderAt != nil {
			j.from, j.off = r.at, r.off
			r.off += want
		} else {
			n, err := readFull(r.src, j.ownSealed()[:want])
			j.sealed = (*j.sealedBuf)[:n]
			switch {
			case err != nil && err != io.EOF:
				r.srcErr = fmt.Errorf("reading the sealed file: %w", err)
			case r.ends >= 0 && err != nil:
				r.srcErr = ErrAuthentication // cut off before its known end
			}
			if r.srcErr != nil {
				j.release()
				return
			}
			want = int64(n)
		}
		// A short segment holds less than SegmentSize, since no message has the
		// sizes between; so a short one is the last, and a full one never is.
		if want < sealedSegment || r.ranged && r.ends == 0 {
			r.srcErr = io.EOF
		}
		j.size = want
		r.start(j)
	}
	if r.window < r.crew.depth {
		r.window = min(2*r.window, r.crew.depth)
	}
}

// start begins to open the next segment.
func (r *Reader) start(j *job) {
	size, err := cobblestone.PlaintextSize(j.size)
	if err == nil {
		j.plain = r.sink.place(int(size))
	}
	if j.placed = j.plain != nil; !j.placed {
		j.plain = j.ownPlain()[:0]
	}
	j.number = r.next
	r.next++
	r.flight = append(r.flight, j)
	if len(r.flight) == 1 {
		r.crew.add(j) // the caller waits for it next
	} else {
		r.crew.start(j)
	}
}

// open is what the crew does.
func (r *Reader) open(j *job) {
	if j.from.ReaderAt != nil {
		j.plain, j.err = openFrom(j.plain, r.key.bytes(), j.number, j)
		return
	}
	copy(j.head[:], j.sealed)
	j.plain, j.err = openSegment(j.plain, r.key.bytes(), j.number, j.sealed)
}
