package view

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"sync"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/given"
)

var (
	_ io.ReaderAt       = (*File)(nil)
	_ io.ReadSeekCloser = (*File)(nil)
	_ io.WriterTo       = (*File)(nil)
)

// A File is an open file of a View. It holds nothing that has to be given back: Close only
// makes later reads fail. ReadAt is safe for concurrent use, also beside the others, which
// wait for each other.
type File struct {
	view  *View
	name  string
	entry *tree.Entry

	mu     sync.Mutex
	off    int64 // of Read, Seek and WriteTo
	follow sums  // of what these have read

	state struct {
		sync.Mutex
		closed   bool
		compared bool  // a small file, with its sum
		err      error // sticky: the contents are not authentic
	}
}

var errNoFile = errors.New("view: a File that was not opened")

// Entry returns the file's entry in the version.
func (f *File) Entry() *tree.Entry {
	if f == nil {
		return nil
	}
	return f.entry
}

// Size returns the number of bytes in the file.
func (f *File) Size() int64 {
	if f == nil || f.entry == nil {
		return 0
	}
	return f.entry.Size
}

// Stat implements fs.File.
func (f *File) Stat() (fs.FileInfo, error) {
	if f == nil || f.view == nil {
		return nil, errNoFile
	}
	return Info{path.Base(f.name), f.entry}, nil
}

// Close makes later reads fail.
func (f *File) Close() error {
	if f == nil || f.view == nil {
		return errNoFile
	}
	f.state.Lock()
	defer f.state.Unlock()
	if f.state.closed {
		return f.bad("close", fs.ErrClosed)
	}
	f.state.closed = true
	return nil
}

func (f *File) bad(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if f == nil || f.view == nil {
		return 0, errNoFile
	}
	return f.ReadAtContext(f.view.ctx, p, off)
}

// ReadAtContext is ReadAt, which also ends when ctx does.
func (f *File) ReadAtContext(ctx context.Context, p []byte, off int64) (n int, err error) {
	return f.readAt(ctx, p, off, anyOrder)
}

// readAt reads with an intent.
func (f *File) readAt(ctx context.Context, p []byte, off int64, how intent) (n int, err error) {
	if f == nil || f.view == nil {
		return 0, errNoFile
	}
	if off < 0 {
		return 0, f.bad("read", fmt.Errorf("the offset %d is negative: %w", off, fs.ErrInvalid))
	}
	done, err := f.view.begin()
	if err != nil {
		return 0, f.bad("read", err)
	}
	defer done()
	if err := given.Context(ctx); err != nil {
		return 0, f.bad("read", f.view.because(err))
	}
	if err := f.check(ctx); err != nil {
		return 0, f.bad("read", f.view.because(err))
	}
	short := int64(len(p)) > max(f.entry.Size-off, 0)
	if short {
		p = p[:max(f.entry.Size-off, 0)]
	}
	if n, err = f.read(ctx, p, off, how); err != nil {
		return n, f.bad("read", f.failed(err))
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// read fills p, all of which is in the file.
func (f *File) read(ctx context.Context, p []byte, off int64, how intent) (n int, err error) {
	all := f.entry.Extents
	// The extent that holds off is the first that ends behind it.
	i := sort.Search(len(all), func(i int) bool { return all[i].At+all[i].Length > off })
	for ; n < len(p); i++ {
		x := all[i]
		from := off + int64(n) - x.At
		k := min(int64(len(p)-n), x.Length-from)
		err := f.view.pages.visit(ctx, x.Pack, x.Offset+from, k, how, func(b []byte) { n += copy(p[n:], b) })
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// check refuses reads of a file that is closed or has failed, and, once, compares a small
// one with its sums.
func (f *File) check(ctx context.Context) error {
	f.state.Lock()
	defer f.state.Unlock()
	switch {
	case f.state.closed:
		return fs.ErrClosed
	case f.state.err != nil:
		return f.state.err
	case f.state.compared || f.entry.Size > comparedFirst:
		return nil
	}
	err := f.view.compare(ctx, f.entry)
	f.state.compared = err == nil
	if unauthentic(err) {
		f.state.err = err
	}
	return err
}

// failed is err, which is kept if it says that the contents are not authentic.
func (f *File) failed(err error) error {
	err = f.view.because(err)
	if unauthentic(err) {
		f.state.Lock()
		defer f.state.Unlock()
		if f.state.err == nil {
			f.state.err = err
		}
	}
	return err
}

// Seek implements io.Seeker.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	if f == nil || f.view == nil {
		return 0, errNoFile
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.off
	case io.SeekEnd:
		offset += f.entry.Size
	default:
		return f.off, f.bad("seek", fs.ErrInvalid)
	}
	if offset < 0 {
		return f.off, f.bad("seek", fs.ErrInvalid)
	}
	f.off = offset
	return offset, nil
}

// Read implements io.Reader. What is read in order is also compared with its sums, so an
// error may come in the place of io.EOF.
func (f *File) Read(p []byte) (n int, err error) {
	if f == nil || f.view == nil {
		return 0, errNoFile
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readOn(p)
}

// readOn reads from the offset on.
func (f *File) readOn(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err = f.readAt(f.view.ctx, p, f.off, inOrder)
	if serr := f.follow.add(f, p[:n], f.off); serr != nil {
		return 0, f.bad("read", f.failed(serr))
	}
	f.off += int64(n)
	if err == io.EOF && n > 0 {
		err = nil
	}
	return n, err
}

// copySize is what WriteTo reads at one time.
const copySize = 256 << 10

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copySize); return &b }}

// WriteTo implements io.WriterTo. It writes the file from the offset on.
func (f *File) WriteTo(w io.Writer) (n int64, err error) {
	if f == nil || f.view == nil {
		return 0, errNoFile
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	buf := copyBuffers.Get().(*[]byte)
	defer func() {
		clear(*buf)
		copyBuffers.Put(buf)
	}()
	for {
		k, err := f.readOn(*buf)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		written, err := w.Write((*buf)[:k])
		n += int64(max(0, min(written, k)))
		if err == nil && written != k {
			err = io.ErrShortWrite
		}
		if err != nil {
			f.off -= int64(k) - int64(max(0, min(written, k)))
			return n, err
		}
	}
}
