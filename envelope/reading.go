package envelope

import (
	"fmt"
	"io"
	"slices"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
)

// A reading is the state of a Reader, behind a pointer so that package fmt finds
// no plaintext in a Reader.
type reading struct {
	src    io.Reader
	header Header
	key    *secret
	opts   options
	crew   crew

	next   uint64 // the number of the next segment to read from src
	ends   int64  // sealed bytes still to come, or -1 where src's end tells
	ranged bool   // ends is authentic, and may be the end of a full segment
	window int    // segments to keep in flight; grows, so that the first comes soon
	flight []*job
	room   [2]*job // the flight's at first
	srcErr error   // found while reading ahead, reported in its turn; io.EOF at the end
	cur    *job    // its plain is what has not yet been returned
	skip   int64   // plaintext bytes to pass over
	limit  int64   // plaintext bytes to return at most, or -1
	sink   *sink   // while one call lasts
	pin    pinner

	at  source // what src is, where that can be read at several offsets at once
	off int64  // of the next segment, in at

	turn turn
	err  error
}

func newReader(src io.Reader, h Header, key *DataKey, opts []Option) (*Reader, error) {
	if src == nil {
		return nil, errNilSource
	}
	one := &struct { // one allocation: there is one for each sealed file
		Reader
		reading
	}{reading: reading{src: src, header: h, opts: defaults(),
		ends: -1, window: 1, limit: -1, pin: pinner{size: h.Size()}}}
	r, s := &one.Reader, &one.reading
	err := s.opts.apply(opts)
	if err != nil {
		return nil, err
	}
	if s.key, err = h.key(key); err != nil {
		return nil, err
	}
	s.crew.run, s.crew.queue, s.flight = s.open, s.crew.room[:0], s.room[:0]
	s.limitTo(s.opts)
	r.reading, r.self = s, r
	return r, nil
}

// key is the key of the file that h is the header of.
func (h Header) key(key *DataKey) (*secret, error) {
	if err := key.usable(); err != nil {
		return nil, err
	}
	if h.KeyID != key.id || !h.Kind.valid() {
		return nil, ErrAuthentication
	}
	return key.objectKey(h)
}

func (r *reading) limitTo(o options) {
	r.crew.limit(o)
	r.window = min(r.window, r.crew.depth)
}

// leave ends a call. One that was not whole, since a panic or runtime.Goexit came
// through it, has failed.
func (r *reading) leave(whole *bool) {
	defer r.turn.give()
	if !*whole && r.err == nil {
		r.fail(interrupted("the Reader"))
	}
}

func (r *reading) read(p []byte) (int, error) {
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

func (r *reading) writeTo(w io.Writer) (total int64, err error) {
	if w == nil {
		return 0, errNilDestination
	}
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

func (r *reading) consumed(n int) {
	r.cur.plain = r.cur.plain[n:]
	if r.limit >= 0 {
		r.limit -= int64(n)
	}
}

// advance makes cur hold something, or returns the sticky error.
func (r *reading) advance() error {
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
		err := r.crew.wait(j)
		r.flight = slices.Delete(r.flight, 0, 1) // not before: wait may not return
		if err != nil {
			panicked := j.thrown
			j.release()
			r.fail(err)
			if panicked != nil {
				panic(panicked.value)
			}
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
func (r *reading) fail(err error) {
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
func (r *reading) readAhead() {
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
			case r.ends >= 0 && int64(n) < want:
				r.srcErr = ErrAuthentication // cut off before its known end
			}
			if r.srcErr != nil && int64(n) < want {
				j.release()
				return
			}
			want = int64(n)
		}
		// A short segment holds less than SegmentSize, since no message has the
		// sizes between; so a short one is the last, and a full one never is.
		if r.srcErr == nil && (want < sealedSegment || r.ranged && r.ends == 0) {
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
func (r *reading) start(j *job) {
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
func (r *reading) open(j *job) (err error) {
	if j.from.ReaderAt != nil {
		j.plain, err = openFrom(j.plain, r.key, j.number, j)
		return err
	}
	copy(j.head[:], j.sealed)
	j.plain, err = openSegment(j.plain, r.key, j.number, j.sealed)
	return err
}
