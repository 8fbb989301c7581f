package envelope

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// A Reader opens a sealed file. No byte is returned before its tag has been
// verified, and io.EOF only after the authenticated end of the file. Segments
// are opened in parallel, by goroutines that compute and end; the source is read
// by the goroutine that calls Read or WriteTo, some segments ahead. Errors are
// sticky. A Reader is not safe for concurrent use.
type Reader struct {
	src     io.Reader
	header  Header
	key     []byte
	workers int

	next   uint64 // the number of the next segment to read from src
	ends   int64  // sealed bytes still to come, or -1 where src's end tells
	window int    // segments to keep in flight; grows, so that the first comes soon
	flight []*job
	srcErr error // found while reading ahead, reported in its turn; io.EOF at the end
	cur    *job
	rest   []byte // of cur, not yet returned
	skip   int64  // plaintext bytes to pass over
	limit  int64  // plaintext bytes to return at most, or -1
	pin    *pinner

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
	return OpenSegments(src, h, kind, key, opts...)
}

// OpenSegments opens what follows a header that has been read from src, by
// [ReadHeader], to find the key: NewReader in two steps.
func OpenSegments(src io.Reader, h Header, kind Kind, key *DataKey, opts ...Option) (*Reader, error) {
	if h.Kind != kind {
		return nil, ErrAuthentication
	}
	return newReader(src, h, key, opts)
}

// OpenExact opens the sealed file that the caller knows the header of, from
// elsewhere: any other, though it were sealed under the same key, is
// ErrAuthentication. src begins with the header.
func OpenExact(src io.Reader, h Header, key *DataKey, opts ...Option) (*Reader, error) {
	want := h.appendTo(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(src, got); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	if !bytes.Equal(got, want) {
		return nil, ErrAuthentication
	}
	return newReader(src, h, key, opts)
}

// OpenRange opens n plaintext bytes from off of a sealed file that the caller
// knows the header and the plaintext size of, from an authenticated source. src
// begins at the offset, and need not reach further than the length, that
// [SegmentRange] tells.
func OpenRange(src io.Reader, h Header, key *DataKey, size, off, n int64, opts ...Option) (*Reader, error) {
	if off < 0 || n < 0 || off > size-n {
		return nil, fmt.Errorf("bytes %d to %d of a sealed file of %d", off, off+n, size)
	}
	r, err := newReader(src, h, key, opts)
	if err != nil {
		return nil, err
	}
	_, r.ends = SegmentRange(size, off, n)
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
	return &Reader{src: src, header: h, key: objectKey, workers: applied(opts).workers,
		ends: -1, window: 1, limit: -1, pin: newPinner(h.Size())}, nil
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
	n := copy(p, r.rest)
	r.consumed(n)
	return n, nil
}

// WriteTo writes all of the plaintext that is left to w.
func (r *Reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if err := r.advance(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(r.rest)
		total += int64(n)
		if err == nil && n < len(r.rest) {
			err = io.ErrShortWrite
		}
		r.consumed(n)
		if err != nil {
			return total, err
		}
	}
}

func (r *Reader) consumed(n int) {
	r.rest = r.rest[n:]
	if r.limit >= 0 {
		r.limit -= int64(n)
	}
}

// advance makes rest hold something, or returns the sticky error.
func (r *Reader) advance() error {
	for len(r.rest) == 0 && r.err == nil {
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
		if err := j.wait(); err != nil {
			j.release()
			r.fail(err)
			break
		}
		r.pin.add(j.sealed)
		r.cur, r.rest = j, j.plain
		skip := min(r.skip, int64(len(r.rest)))
		r.rest, r.skip = r.rest[skip:], r.skip-skip
		if r.limit >= 0 {
			r.rest = r.rest[:min(int64(len(r.rest)), r.limit)]
		}
	}
	return r.err
}

// fail ends the stream for good, and lets the jobs in flight run out.
func (r *Reader) fail(err error) {
	r.err, r.rest = err, nil
	for _, j := range r.flight {
		j.wait()
		j.release()
	}
	r.flight = nil
	clear(r.key)
}

// readAhead reads segments from the source and begins to open them, up to the
// window.
func (r *Reader) readAhead() {
	for len(r.flight) < r.window && r.srcErr == nil {
		j := newJob()
		want := int64(sealedSegment)
		if r.ends >= 0 {
			want = min(want, r.ends)
			r.ends -= want
		}
		n, err := io.ReadFull(r.src, (*j.sealedBuf)[:want])
		j.sealed = (*j.sealedBuf)[:n]
		switch {
		case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
			r.srcErr = fmt.Errorf("reading the sealed file: %w", err)
			j.release()
			return
		case r.ends >= 0 && err != nil:
			r.srcErr = ErrAuthentication // cut off before its known end
			j.release()
			return
		case r.ends == 0, err != nil:
			r.srcErr = io.EOF
		}
		// A short segment holds less than SegmentSize, since no message has the
		// sizes between; so a short one is the last, and a full one never is.
		i, key := r.next, r.key
		r.next++
		r.flight = append(r.flight, j)
		j.run(r.workers, func(j *job) {
			j.plain, j.err = openSegment(j.ownPlain()[:0], key, i, j.sealed)
		})
	}
	if r.window <= r.workers && r.workers > 1 {
		r.window = min(2*r.window, r.workers+1)
	}
}
