package envelope

import (
	"bytes"
	"io"
	"slices"
)

// A writing is the state of a Writer, behind a pointer so that package fmt finds
// no plaintext in a Writer.
type writing struct {
	dst    io.Writer
	header Header
	key    *secret
	opts   options
	crew   crew

	next    uint64 // the number of the segment being filled
	done    uint64 // segments that the destination has taken
	filling *job
	n       int     // plaintext bytes in filling
	flight  []*job  // being sealed, oldest first
	room    [2]*job // the flight's at first
	sink    *sink   // while one call lasts
	pin     pinner

	turn   turn
	born   int // how many panics its goroutine was unwinding from at first
	err    error
	closed bool
}

// leave ends a call. One that was not whole, since a panic or runtime.Goexit came
// through it, has failed.
func (w *writing) leave(whole *bool) {
	defer w.turn.give()
	if !*whole {
		w.fail(interrupted("the Writer"))
		w.drain(0)
	}
}

// fail makes err sticky if it is the first.
func (w *writing) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writing) write(p []byte) (int, error) {
	if err := w.open(); err != nil {
		return 0, err
	}
	for written := 0; ; {
		if w.n == 0 && len(p)-written >= w.crew.workers*SegmentSize {
			n, err := w.writeDirect(p[written:])
			if written += n; err != nil {
				return written, err
			}
		}
		if written == len(p) {
			return written, nil
		}
		n := copy(w.space(), p[written:])
		written += n
		if err := w.filled(n); err != nil {
			return written, err
		}
	}
}

// writeDirect seals the whole segments of p without copying them, and returns
// when none of p is in use any more.
func (w *writing) writeDirect(p []byte) (n int, err error) {
	w.sink = sinkOf(w.dst, len(w.flight)*sealedSegment)
	defer func() { w.sink = nil }()
	first := w.next
	for ; len(p)-n >= SegmentSize; n += SegmentSize {
		j := newJob()
		j.plain = p[n : n+SegmentSize]
		if err := w.start(j); err != nil {
			return int(w.taken(first)), err
		}
	}
	err = w.drain(0)
	return int(w.taken(first)), err
}

// taken is how many bytes from segment first on the destination has taken.
func (w *writing) taken(first uint64) int64 {
	return int64(max(w.done, first)-first) * SegmentSize
}

// A direct Writer is one within a call.
type direct struct{ *writing }

func (d direct) Write(p []byte) (int, error) { return d.write(p) }

func (w *writing) readFrom(r io.Reader) (total int64, err error) {
	if err := w.open(); err != nil {
		return 0, err
	}
	if r == nil {
		w.fail(errNilSource)
		return 0, w.err
	}
	if b, ok := r.(*bytes.Reader); ok {
		return b.WriteTo(direct{w}) // nothing is copied
	}
	for tried := false; ; {
		if w.n == 0 && !tried {
			tried = true
			n, err := w.readParallel(r)
			if total += n; err != nil {
				return total, err
			}
		}
		n, err := readFull(r, w.space())
		total += int64(n)
		if werr := w.filled(n); werr != nil {
			return total, werr
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			w.fail(err)
			return total, err
		}
	}
}

// readParallel seals the whole segments of a source that can be read at several
// offsets at once, and leaves its offset after them.
func (w *writing) readParallel(r io.Reader) (n int64, err error) {
	src, off, left, ok := seekable(r)
	if !ok {
		return 0, nil
	}
	w.sink = sinkOf(w.dst, len(w.flight)*sealedSegment)
	defer func() { w.sink = nil }()
	first := w.next
	for ; left-n >= SegmentSize; n += SegmentSize {
		j := newJob()
		j.from, j.off = src, off+n
		if err := w.start(j); err != nil {
			return w.taken(first), err
		}
	}
	if err := w.drain(0); err != nil {
		return w.taken(first), err
	}
	if _, err := r.(io.Seeker).Seek(off+n, io.SeekStart); err != nil {
		w.fail(err)
	}
	return n, w.err
}

func (w *writing) open() error {
	if w.err == nil && w.closed {
		return errClosed
	}
	return w.err
}

// space is where the current segment continues.
func (w *writing) space() []byte {
	if w.filling == nil {
		w.filling = newJob()
		w.filling.plain = w.filling.ownPlain()
	}
	return w.filling.plain[w.n:]
}

// filled takes note of n bytes put into space, and starts a full segment.
func (w *writing) filled(n int) error {
	if w.n += n; w.n < SegmentSize {
		return nil
	}
	j := w.filling
	w.filling, w.n = nil, 0
	return w.start(j)
}

// start begins to seal the next segment, once there is room for it.
func (w *writing) start(j *job) error {
	j.number = w.next
	w.next++
	if j.sealed = w.sink.place(sealedSegment); j.sealed != nil {
		j.placed = true
	} else {
		j.sealed = j.ownSealed()[:0]
	}
	w.flight = append(w.flight, j)
	w.crew.start(j)
	if w.crew.depth == 1 {
		return w.drain(0)
	}
	return w.drain(w.crew.depth)
}

// seal is what the crew does.
func (w *writing) seal(j *job) (err error) {
	if j.from.ReaderAt == nil {
		j.sealed, err = sealSegment(j.sealed, w.key, j.number, j.plain)
	} else {
		j.sealed, err = sealFrom(j.sealed, w.key, j.number, j.from, j.off)
	}
	return err
}

// drain writes finished segments, oldest first, until at most keep are left. The
// error it returns is sticky. A panic of the caller's source, wherever it was,
// goes on here once nothing is left in flight.
func (w *writing) drain(keep int) error {
	var panicked *thrown
	for len(w.flight) > keep {
		j := w.flight[0]
		if err := w.crew.wait(j); err != nil {
			w.fail(err)
		}
		if panicked == nil {
			panicked = j.thrown
		}
		w.flight = slices.Delete(w.flight, 0, 1) // not before: wait may not return
		if w.err == nil {
			if w.err = w.put(j); w.err == nil {
				w.done++
			}
		}
		j.release()
		if w.err != nil {
			keep = 0 // the others may still read the caller's slice
		}
	}
	if panicked != nil {
		panic(panicked.value)
	}
	return w.err
}

// put writes a sealed segment.
func (w *writing) put(j *job) error {
	w.pin.add(j.sealed, int64(len(j.sealed)))
	w.sink.written(len(j.sealed))
	if j.placed {
		return w.sink.put(j.sealed)
	}
	_, err := writeFull(w.dst, j.sealed)
	return err
}

// finish ends the file, without its last segment if anything has failed.
func (w *writing) finish() {
	w.closed = true
	defer w.key.wipe()
	if w.err == nil {
		j := w.filling
		if j == nil {
			j = newJob()
		}
		j.number, j.plain = w.next, j.plain[:w.n]
		j.sealed = j.ownSealed()[:0]
		w.filling = nil
		w.flight = append(w.flight, j)
		w.crew.add(j) // which drain computes, since nothing else is left to do
	}
	w.drain(0)
	if w.filling != nil {
		w.filling.release()
		w.filling = nil
	}
}
