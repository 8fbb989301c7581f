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
// goroutine that calls Write, ReadFrom or Close. A Writer is not safe for
// concurrent use, which it refuses with an error, and must not be copied.
//
// The sealed file is complete only when Close has returned nil. Every error,
// panic and runtime.Goexit that has passed through the Writer, of its destination
// or of a source that it has read, is sticky: Close then returns an error, and
// leaves a file that never opens to its end. So does a Close that runs because its
// goroutine unwinds from a panic or from runtime.Goexit. What the Writer cannot
// see is an error that the owner meets elsewhere: a deferred Close would complete
// the file that it cut short. So defer [Writer.Abort], which does nothing after
// Close, and call Close where all is well:
//
//	w, err := envelope.Seal(ctx, dst, nil, key)
//	if err != nil {
//		return err
//	}
//	defer w.Abort()
//	if _, err := io.Copy(w, src); err != nil {
//		return err
//	}
//	return w.Close()
//
// It is fastest with large Writes or with ReadFrom, which copy nothing. Into a
// *bytes.Buffer with room for the sealed file, which [SealedSize] tells, they
// seal without a copy.
type Writer struct {
	_    noCopy
	self *Writer
	*writing
}

// A writing is the state of a Writer, behind a pointer so that package fmt finds
// no plaintext in a Writer.
type writing struct {
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

	turn   turn
	born   int // how many panics its goroutine was unwinding from at first
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
	if dst == nil {
		return nil, errNilDestination
	}
	if !kind.valid() {
		return nil, fmt.Errorf("unknown kind %q", kind)
	}
	o, err := applied(opts)
	if err != nil {
		return nil, err
	}
	if err := key.usable(); err != nil {
		return nil, err
	}
	s := &writing{dst: dst, header: newHeader(kind, key, ring), opts: o, born: unwinding()}
	objectKey, err := key.objectKey(s.header)
	if err != nil {
		return nil, err
	}
	s.key = newSecret(objectKey)
	s.crew = &crew{run: s.seal}
	s.crew.limit(o)
	b := s.header.appendTo(nil)
	if _, err := writeFull(dst, b); err != nil {
		s.key.wipe()
		return nil, fmt.Errorf("writing the header: %w", err)
	}
	s.pin = newPinner(int64(len(b)))
	w := &Writer{writing: s}
	w.self = w
	return w, nil
}

// Header is the sealed file's header.
func (w *Writer) Header() Header {
	if w.usable() != nil {
		return Header{}
	}
	return w.header
}

// Pin names the bytes that were written. It is complete after Close.
func (w *Writer) Pin() Pin {
	if w.usable() != nil {
		return Pin{}
	}
	return w.pin.pin()
}

// Use sets options for what is written from now on, as those of NewWriter do. It
// is for the Writers of [Seal].
func (w *Writer) Use(opts ...Option) {
	if w.enter() != nil {
		return // what comes next says so, too
	}
	defer w.turn.give()
	if err := w.opts.apply(opts); err != nil && !w.closed {
		w.fail(err)
	}
	w.crew.limit(w.opts)
}

// Format keeps every verb of fmt from printing what is inside.
func (w *Writer) Format(s fmt.State, _ rune) {
	h := w.Header()
	fmt.Fprintf(s, "envelope.Writer of %s %s", h.Kind, h.ObjectID)
}

// Write seals p. Errors are those of the destination, and are sticky.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.enter(); err != nil {
		return 0, err
	}
	whole := false
	defer w.leave(&whole)
	n, err := w.write(p)
	whole = true
	return n, err
}

// usable is the error of a Writer that is none.
func (w *Writer) usable() error {
	switch {
	case w == nil || w.writing == nil:
		return errors.New("the envelope.Writer is nil or a zero value: it is got from Seal or NewWriter")
	case w.self != w:
		return errors.New("the envelope.Writer is a copy by value; use the pointer that Seal or NewWriter has returned")
	}
	return nil
}

// enter begins a call, which leave has to end.
func (w *Writer) enter() error {
	if err := w.usable(); err != nil {
		return err
	}
	if !w.turn.take() {
		return fmt.Errorf("envelope.Writer: %w", errConcurrent)
	}
	return nil
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

// sourceFailed is told what a source that writes to the Writer by itself has met.
func (w *Writer) sourceFailed(err error) {
	if w.enter() != nil {
		return // it fails anyway
	}
	defer w.turn.give()
	if !w.closed {
		w.fail(err)
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

// ReadFrom seals everything that r has. The first error of r or of the
// destination is sticky: a file that could not be read whole is not completed by
// a Close that nobody thought about.
//
// A regular *os.File and an *io.SectionReader are read at several offsets at
// once. (io.Copy hides from ReadFrom that its source is a file.) If one proves
// shorter than it was at the beginning, the error wraps io.ErrUnexpectedEOF. What
// a *bytes.Reader holds is sealed where it lies.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	if err := w.enter(); err != nil {
		return 0, err
	}
	whole := false
	defer w.leave(&whole)
	n, err := w.readFrom(r)
	whole = true
	return n, err
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

// space is where the current segment goes on.
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

// Close seals the last segment and writes what is outstanding, if all went well
// before. It does not close the destination. A second Close returns what the
// first did.
func (w *Writer) Close() error {
	if err := w.enter(); err != nil {
		return err
	}
	whole := false
	defer w.leave(&whole)
	if !w.closed {
		if w.turn.missed() {
			w.fail(fmt.Errorf("envelope.Writer: %w", errConcurrent))
		}
		if unwinding() > w.born {
			w.fail(interrupted("the Writer's owner"))
		}
		w.finish()
	}
	whole = true
	return w.err
}

// Abort gives the file up: it is left without its last segment, and never opens
// to its end. After Close it does nothing, so it can be deferred as soon as there
// is a Writer.
func (w *Writer) Abort() {
	if w.enter() != nil {
		return // the call that is under way is told by its next one
	}
	whole := false
	defer w.leave(&whole)
	if !w.closed {
		w.fail(ErrAborted)
		w.finish()
	}
	whole = true
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
		w.crew.compute(j) // here, since nothing else is left to do
	}
	w.drain(0)
	if w.filling != nil {
		w.filling.release()
		w.filling = nil
	}
}
