package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A Writer seals what is written to it. Segments are sealed in parallel, by the
// caller and by goroutines that compute and end, and written in order by the
// goroutine that calls Write, ReadFrom or Close. The sealed file is complete
// only when Close has returned nil: to give up, leave the Writer and do not call
// Close. What it has written then does not open. A Writer is not safe for
// concurrent use.
//
// It is fastest with large Writes or with ReadFrom, which copy nothing. Into a
// *bytes.Buffer with room for the sealed file, which [SealedSize] tells, they
// seal without a copy.
type Writer struct {
	dst    io.Writer
	header Header
	key    *secret
	opts   options
	crew   *crew

	next    uint64 // the number of the segment being filled
	done    uint64 // segments that the destination has taken
	filling *job
	n       int    // plaintext bytes in filling
	flight  []*job // being sealed, oldest first
	sink    *sink  // while one call lasts
	pin     *pinner

	err    error
	closed bool
}

var errClosed = errors.New("write to a closed envelope.Writer")

// NewWriter writes the header of a new sealed file to dst, with a fresh object
// ID, and returns a Writer that seals under key. The keyring is kept elsewhere;
// [Seal] puts it into the file.
func NewWriter(dst io.Writer, kind Kind, key *DataKey, opts ...Option) (*Writer, error) {
	return newWriter(dst, kind, key, nil, opts)
}

func newWriter(dst io.Writer, kind Kind, key *DataKey, ring *Keyring, opts []Option) (*Writer, error) {
	if !kind.valid() {
		return nil, fmt.Errorf("unknown kind %q", kind)
	}
	w := &Writer{dst: dst, header: newHeader(kind, key, ring), opts: applied(opts)}
	objectKey, err := key.objectKey(w.header)
	if err != nil {
		return nil, err
	}
	w.key = newSecret(objectKey)
	w.crew = &crew{run: w.seal}
	w.Use()
	b := w.header.appendTo(nil)
	if _, err := writeFull(dst, b); err != nil {
		return nil, fmt.Errorf("writing the header: %w", err)
	}
	w.pin = newPinner(int64(len(b)))
	return w, nil
}

// Header is the sealed file's header.
func (w *Writer) Header() Header { return w.header }

// Pin names the bytes that were written. It is complete after Close.
func (w *Writer) Pin() Pin { return w.pin.pin() }

// Use sets options for what is written from now on, as those of NewWriter do. It
// is for the Writers of [Seal].
func (w *Writer) Use(opts ...Option) {
	w.opts.apply(opts)
	w.crew.limit(w.opts)
}

// Format keeps every verb of fmt from printing what is inside.
func (w Writer) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "envelope.Writer of %s %s", w.header.Kind, w.header.ObjectID)
}

// Write seals p. Errors are those of the destination, and are sticky.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.usable(); err != nil {
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
func (w *Writer) writeDirect(p []byte) (n int, err error) {
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
func (w *Writer) taken(first uint64) int64 {
	return int64(max(w.done, first)-first) * SegmentSize
}

// ReadFrom seals everything that r has. The first error of r or of the
// destination is sticky: a file that could not be read whole is not completed by
// a Close that nobody thought about.
//
// A regular *os.File and an *io.SectionReader are read at several offsets at
// once. (io.Copy hides from ReadFrom that its source is a file.) If one proves
// shorter than it was at the beginning, the error wraps io.ErrUnexpectedEOF. What
// a *bytes.Reader holds is sealed where it lies.
func (w *Writer) ReadFrom(r io.Reader) (total int64, err error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	if b, ok := r.(*bytes.Reader); ok {
		return b.WriteTo(w) // nothing is copied
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
			w.err = err
			return total, err
		}
	}
}

// readParallel seals the whole segments of a source that can be read at several
// offsets at once, and leaves its offset after them.
func (w *Writer) readParallel(r io.Reader) (n int64, err error) {
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
		w.err = err
	}
	return n, w.err
}

func (w *Writer) usable() error {
	if w.err == nil && w.closed {
		return errClosed
	}
	return w.err
}

// space is where the current segment goes on.
func (w *Writer) space() []byte {
	if w.filling == nil {
		w.filling = newJob()
		w.filling.plain = w.filling.ownPlain()
	}
	return w.filling.plain[w.n:]
}

// filled takes note of n bytes put into space, and starts a full segment.
func (w *Writer) filled(n int) error {
	if w.n += n; w.n < SegmentSize {
		return nil
	}
	j := w.filling
	w.filling, w.n = nil, 0
	return w.start(j)
}

// start begins to seal the next segment, once there is room for it.
func (w *Writer) start(j *job) error {
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
func (w *Writer) seal(j *job) {
	if j.from.ReaderAt == nil {
		j.sealed, j.err = sealSegment(j.sealed, w.key.bytes(), j.number, j.plain)
		return
	}
	j.sealed, j.err = sealFrom(j.sealed, w.key.bytes(), j.number, j.from, j.off)
}

// drain writes finished segments, oldest first, until at most keep are left. The
// error it returns is sticky.
func (w *Writer) drain(keep int) error {
	for len(w.flight) > keep {
		j := w.flight[0]
		w.flight = slices.Delete(w.flight, 0, 1)
		if err := w.crew.wait(j); err != nil && w.err == nil {
			w.err = err
		}
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
	return w.err
}

// put writes a sealed segment.
func (w *Writer) put(j *job) error {
	w.pin.add(j.sealed, int64(len(j.sealed)))
	w.sink.written(len(j.sealed))
	if j.placed {
		return w.sink.put(j.sealed)
	}
	_, err := writeFull(w.dst, j.sealed)
	return err
}

// Close seals the last segment and writes what is outstanding. It does not close
// the destination. A second Close returns what the first did.
func (w *Writer) Close() error {
	if w.closed {
		return w.err
	}
	w.closed = true
	if w.err == nil {
		j := w.filling
		if j == nil {
			j = newJob()
		}
		j.number, j.plain = w.next, j.plain[:w.n]
		j.sealed = j.ownSealed()[:0]
		w.filling = nil
		w.flight = append(w.flight, j)
		w.crew.compute(j) // here, since nothing else is left to do
	}
	w.drain(0)
	if w.filling != nil {
		w.filling.release()
		w.filling = nil
	}
	w.key.wipe()
	return w.err
}
