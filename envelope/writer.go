package envelope

import (
	"errors"
	"fmt"
	"io"
	"runtime"
)

// An Option changes how a stream is processed, never what it holds.
type Option func(*options)

type options struct{ workers int }

// Workers sets how many segments of one stream are sealed or opened at once.
// The default is one for each core. Each takes about 2 MiB of memory. With one
// worker everything happens in the caller's goroutine.
func Workers(n int) Option { return func(o *options) { o.workers = max(n, 1) } }

func applied(opts []Option) options {
	o := options{workers: runtime.GOMAXPROCS(0)}
	for _, f := range opts {
		f(&o)
	}
	return o
}

// A Writer seals what is written to it. Segments are sealed in parallel and
// written in order, by the goroutine that calls Write, ReadFrom or Close. The
// sealed file is complete only when Close has returned nil; what an abandoned
// Writer leaves does not open. A Writer is not safe for concurrent use.
type Writer struct {
	dst     io.Writer
	header  Header
	key     []byte
	workers int

	next    uint64 // the number of the segment being filled
	filling *job
	n       int    // plaintext bytes in filling
	flight  []*job // being sealed, oldest first
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
	w := &Writer{dst: dst, header: newHeader(kind, key, ring), workers: applied(opts).workers}
	var err error
	if w.key, err = key.objectKey(w.header); err != nil {
		return nil, err
	}
	b := w.header.appendTo(nil)
	if _, err := dst.Write(b); err != nil {
		return nil, fmt.Errorf("writing the header: %w", err)
	}
	w.pin = newPinner(int64(len(b)))
	return w, nil
}

// Header is the sealed file's header.
func (w *Writer) Header() Header { return w.header }

// Pin names the bytes that were written. It is complete after Close.
func (w *Writer) Pin() Pin { return w.pin.pin() }

// Write seals p. Errors are those of the destination, and are sticky.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	written := 0
	if w.n == 0 && len(p) >= w.workers*SegmentSize {
		n, err := w.writeDirect(p)
		if written += n; err != nil {
			return written, err
		}
		p = p[n:]
	}
	for len(p) > 0 {
		n := copy(w.space(), p)
		written, p = written+n, p[n:]
		if err := w.filled(n); err != nil {
			return written, err
		}
	}
	return written, nil
}

// writeDirect seals the whole segments of p without copying them, and returns
// when none of p is in use any more.
func (w *Writer) writeDirect(p []byte) (n int, err error) {
	for len(p)-n >= SegmentSize {
		j := newJob()
		j.plain = p[n : n+SegmentSize]
		if err := w.start(j); err != nil {
			return n, err
		}
		n += SegmentSize
	}
	return n, w.drain(0)
}

// ReadFrom seals everything that r has, read straight into the segments'
// buffers. It returns the first error of r or of the destination; only the
// latter is sticky.
func (w *Writer) ReadFrom(r io.Reader) (total int64, err error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	for {
		n, err := io.ReadFull(r, w.space())
		total += int64(n)
		if werr := w.filled(n); werr != nil {
			return total, werr
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
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
	i, key := w.next, w.key
	w.next++
	w.flight = append(w.flight, j)
	j.run(w.workers, func(j *job) {
		j.sealed, j.err = sealSegment((*j.sealedBuf)[:0], key, i, j.plain)
	})
	if w.workers == 1 {
		return w.drain(0)
	}
	return w.drain(w.workers)
}

// drain writes finished segments, oldest first, until at most keep are left. The
// error it returns is sticky.
func (w *Writer) drain(keep int) error {
	for len(w.flight) > keep {
		j := w.flight[0]
		w.flight = append(w.flight[:0], w.flight[1:]...)
		if err := j.wait(); err != nil && w.err == nil {
			w.err = err
		}
		if w.err == nil {
			_, w.err = w.dst.Write(j.sealed)
			w.pin.add(j.sealed)
		} else {
			keep = 0 // the others may still read the caller's slice
		}
		j.release()
	}
	return w.err
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
		j.plain = j.plain[:w.n]
		w.filling = nil
		w.err = w.start(j)
	}
	w.drain(0)
	if w.filling != nil {
		w.filling.release()
		w.filling = nil
	}
	clear(w.key)
	return w.err
}
