package envelope

import (
	"errors"
	"fmt"
	"io"

	"github.com/vaultpack/vaultpack/internal/unwind"
)

// A Writer seals what is written to it. Segments are sealed in parallel, by the
// caller and by short-lived goroutines that only compute, and written in order
// by the goroutine that calls Write, ReadFrom or Close. A Writer is not safe
// for concurrent use, and concurrent calls return an error. It must not be
// copied.
//
// The sealed file is complete only when Close has returned nil. Every error, panic
// and runtime.Goexit of its destination or of a source that it has read is sticky:
// Close then returns an error, and no reader can open the file to its end. The
// same holds for a Close that runs while its goroutine unwinds from a panic or
// runtime.Goexit. The Writer cannot see errors that its owner meets elsewhere: a
// deferred Close would complete a file that such an error cut short. So defer
// [Writer.Abort], which does nothing after Close, and call Close after everything
// else has succeeded:
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
// Large Writes and ReadFrom are fastest, since they copy nothing. They also
// seal without a copy into a *bytes.Buffer that has room for the sealed file
// (see [SealedSize]).
type Writer struct {
	_    noCopy
	self *Writer
	*writing
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
	one := &struct { // one allocation: there is one for each sealed file
		Writer
		writing
		head [headerSize]byte
	}{}
	w, s := &one.Writer, &one.writing
	s.opts = defaults()
	if err := s.opts.apply(opts); err != nil {
		return nil, err
	}
	err := key.usable()
	if err != nil {
		return nil, err
	}
	s.dst, s.header, s.born = dst, newHeader(kind, key, ring), unwind.Count()
	if s.key, err = key.objectKey(s.header); err != nil {
		return nil, err
	}
	s.crew.run, s.crew.queue, s.flight = s.seal, s.crew.room[:0], s.room[:0]
	s.crew.limit(s.opts)
	b := s.header.appendTo(one.head[:0])
	if _, err := writeFull(dst, b); err != nil {
		s.key.wipe()
		return nil, fmt.Errorf("writing the header: %w", err)
	}
	s.pin.size = int64(len(b))
	w.writing, w.self = s, w
	return w, nil
}

// Header returns the sealed file's header.
func (w *Writer) Header() Header {
	if w.usable() != nil {
		return Header{}
	}
	return w.header
}

// Pin returns the pin of the bytes that were written. It is complete after Close.
func (w *Writer) Pin() Pin {
	if w.usable() != nil {
		return Pin{}
	}
	return w.pin.pin()
}

// Use sets options, as those of NewWriter, for what is written from now on. It
// is for Writers that [Seal] returns.
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

// Write seals p. Errors of the destination are sticky.
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

// ReadFrom seals everything that it reads from r. The first error of r or of the
// destination is sticky, so that a deferred Close does not complete a file that
// could not be read whole.
//
// A regular *os.File and an *io.SectionReader are read at several offsets at
// once. (io.Copy hides from ReadFrom that its source is a file.) If one turns out
// to be shorter than it was at the beginning, the error wraps
// io.ErrUnexpectedEOF. The contents of a *bytes.Reader are sealed in place.
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

// Close seals the last segment and writes what is outstanding, unless an error
// occurred before. It does not close the destination. A second Close returns
// the result of the first.
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
		if unwind.Count() > w.born {
			w.fail(interrupted("the Writer's owner"))
		}
		w.finish()
	}
	whole = true
	return w.err
}

// Abort abandons the file, which is left without its last segment, so that no
// reader can open it to its end. After Close it does nothing, so it can be
// deferred as soon as the Writer exists.
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
