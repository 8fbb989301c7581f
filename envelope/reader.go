package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A Reader opens a sealed file. No byte is returned before its tag has been
// verified, and io.EOF is returned only after the authenticated end of the file.
// Segments are opened in parallel and ahead of what is returned, by the caller and
// by short-lived goroutines that only compute. Nothing is read before the first
// Read or WriteTo. Errors are sticky, and so is a panic or runtime.Goexit of the
// source or the destination. A Reader is not safe for concurrent use, and
// concurrent calls return an error. It must not be copied.
//
// The caller's goroutine reads the source in order. A regular *os.File and an
// *io.SectionReader are read at several offsets at once, up to the size that
// they have at the first Read. The contents of a *bytes.Reader are opened in
// place and must not change meanwhile. WriteTo opens without a copy into a
// *bytes.Buffer that has room for the plaintext.
type Reader struct {
	_    noCopy
	self *Reader
	*reading
}

// NewReader reads the header from src and opens what follows it with key. For a
// file of a different kind or data key the error is ErrAuthentication; for
// anything that is not a sealed file it wraps ErrFormat.
func NewReader(src io.Reader, kind Kind, key *DataKey, opts ...Option) (*Reader, error) {
	h, err := ReadHeader(src)
	if err != nil {
		return nil, err
	}
	return h.Open(src, kind, key, opts...)
}

// Open opens what follows a header that [ReadHeader] has read from src.
// ReadHeader and Open together do what NewReader does, for callers that need
// the header to find the key.
func (h Header) Open(src io.Reader, kind Kind, key *DataKey, opts ...Option) (*Reader, error) {
	if h.Kind != kind {
		return nil, ErrAuthentication
	}
	return newReader(src, h, key, opts)
}

// OpenExact opens the sealed file whose header the caller already knows. Any
// other file returns ErrAuthentication, even if it was sealed under the same
// key. src begins with the header.
func (h Header) OpenExact(src io.Reader, key *DataKey, opts ...Option) (*Reader, error) {
	if src == nil {
		return nil, errNilSource
	}
	want := h.appendTo(nil)
	got := make([]byte, len(want))
	if n, err := readFull(src, got); err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading the header: %w", err)
	} else if n < len(got) || !bytes.Equal(got, want) {
		return nil, ErrAuthentication
	}
	return newReader(src, h, key, opts)
}

// OpenRange opens n plaintext bytes from off of a sealed file whose header and
// plaintext size the caller knows from an authenticated source. src begins at
// the offset that [SegmentRange] returns, and must have at least the length
// that it returns.
func (h Header) OpenRange(src io.Reader, key *DataKey, size, off, n int64, opts ...Option) (*Reader, error) {
	if err := checkRange(size, off, n); err != nil {
		return nil, err
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

// Use sets options, as those of NewReader, for what is opened from now on. It
// is for Readers that [Open] returns.
func (r *Reader) Use(opts ...Option) {
	if r.enter() != nil {
		return // what comes next says so, too
	}
	defer r.turn.give()
	if err := r.opts.apply(opts); err != nil && r.err == nil {
		r.fail(err)
	}
	r.limitTo(r.opts)
}

// Format keeps every verb of fmt from printing what is inside.
func (r *Reader) Format(s fmt.State, _ rune) {
	h := r.Header()
	fmt.Fprintf(s, "envelope.Reader of %s %s", h.Kind, h.ObjectID)
}

// Header returns the sealed file's header.
func (r *Reader) Header() Header {
	if r.usable() != nil {
		return Header{}
	}
	return r.header
}

// Pin returns the pin of the bytes that were opened. It is complete after Read
// has returned io.EOF or WriteTo has returned nil.
func (r *Reader) Pin() Pin {
	if r.usable() != nil {
		return Pin{}
	}
	return r.pin.pin()
}

// usable is the error of a Reader that is none.
func (r *Reader) usable() error {
	switch {
	case r == nil || r.reading == nil:
		return errors.New("the envelope.Reader is nil or a zero value: it is got from Open, NewReader or a Header")
	case r.self != r:
		return errors.New("the envelope.Reader is a copy by value; use the pointer")
	}
	return nil
}

// enter begins a call, which leave has to end.
func (r *Reader) enter() error {
	if err := r.usable(); err != nil {
		return err
	}
	if !r.turn.take() {
		return fmt.Errorf("envelope.Reader: %w", errConcurrent)
	}
	return nil
}

// Read returns authenticated plaintext.
func (r *Reader) Read(p []byte) (int, error) {
	if err := r.enter(); err != nil {
		return 0, err
	}
	whole := false
	defer r.leave(&whole)
	n, err := r.read(p)
	whole = true
	return n, err
}

// WriteTo writes all remaining plaintext to w. After an error of w, the plaintext
// that was not written can still be read. If w is a *Writer, an error of the
// Reader becomes its error too.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	whole := false
	if sealing, ok := w.(*Writer); ok {
		defer func() {
			if !whole && err == nil {
				err = interrupted("the Reader that the Writer's contents came from")
			}
			if err != nil {
				sealing.sourceFailed(err)
			}
		}()
	}
	if err := r.enter(); err != nil {
		return 0, err
	}
	defer r.leave(&whole)
	n, err = r.writeTo(w)
	whole = true
	return n, err
}
