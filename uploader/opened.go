package uploader

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/vault"
)

// An opened is a file of the source that is open for reading.
type opened interface {
	// section reads n bytes from off, or fewer if the file ends before. The caller closes it.
	section(ctx context.Context, off, n int64) io.ReadCloser
	// describe copies the attributes that the file has now to the entry.
	describe(e *tree.Entry) error
	// goesOn reports whether the file has more than n bytes.
	goesOn(n int64) bool
	Close() error
}

// open opens an item's file as it is.
func (u *upload) openFile(it *item) (opened, error) {
	if u.bucket != nil {
		return &openObject{u: u, it: it, pin: *it.pin}, nil
	}
	f, err := openSource(it.file)
	if err != nil {
		return nil, err
	}
	return &localFile{f, u.host}, nil
}

// A localFile is a file of this machine.
type localFile struct {
	*os.File
	host string
}

func (f *localFile) section(_ context.Context, off, n int64) io.ReadCloser {
	return io.NopCloser(io.NewSectionReader(f, off, n))
}

func (f *localFile) describe(e *tree.Entry) error {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errChanged
	}
	if err == nil {
		describe(e, info, f.host)
	}
	return err
}

// goesOn reads, since a size may not show that, as of files that the kernel generates.
func (f *localFile) goesOn(n int64) bool {
	var b [1]byte
	k, _ := f.ReadAt(b[:], n)
	return k > 0
}

// An openObject is an object in the state in which it was pinned: in no other is it read.
type openObject struct {
	u   *upload
	it  *item
	pin vault.Pinned
}

func (o *openObject) describe(e *tree.Entry) error {
	describeObject(e, o.pin, o.u.host)
	return nil
}

func (o *openObject) goesOn(n int64) bool { return n < o.pin.Size }
func (o *openObject) Close() error        { return nil }

// Bounds of what is read ahead of an object, or of the objects of a pack.
const (
	rangeSize   = 8 << 20 // of one request
	aheadMemory = 32 << 20
	aheadMost   = 16 // requests
)

// rangesOf returns how many requests read n bytes.
func rangesOf(n int64) int64 { return (n + rangeSize - 1) / rangeSize }

func (o *openObject) section(ctx context.Context, off, n int64) io.ReadCloser {
	n = max(min(n, o.pin.Size-off), 0)
	r := &rangeReader{}
	r.ahead = newAhead(ctx, int(rangesOf(n)), func(int) int64 { return rangeSize }, func(ctx context.Context, i int) fetched {
		at := int64(i) * rangeSize
		return o.fetch(ctx, off+at, min(rangeSize, n-at))
	})
	return r
}

// fetch reads a range completely.
func (o *openObject) fetch(ctx context.Context, off, n int64) (out fetched) {
	rc, err := o.u.bucket.Read(ctx, o.pin, off, n)
	if err == nil {
		out.b = buffer(n)
		if _, err = io.ReadFull(rc, out.b); err == nil {
			err = atEnd(rc)
		}
		rc.Close()
	}
	out.err = o.readError(err)
	return out
}

// atEnd returns an error unless the reader is at its end. A reader that checks a checksum
// does so there.
func atEnd(r io.Reader) error {
	switch n, err := io.ReadFull(r, make([]byte, 1)); {
	case n > 0:
		return errors.New("the server sends more than it was asked for")
	case err != io.EOF:
		return err
	}
	return nil
}

// readError tells the item if it was replaced.
func (o *openObject) readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, vault.ErrReplaced):
		o.it.replaced.Store(true)
		if o.u.shard != nil {
			return &ChangedError{o.it.entry.Path, "was replaced"}
		}
		return errChanged
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the server sent less than it was asked for")
	}
	return o.u.gone(o.it, err)
}

// fetched is what was read of an object, or why not.
type fetched struct {
	b   []byte
	err error
}

// A rangeReader reads ranges that are fetched ahead, one after the other.
type rangeReader struct {
	ahead *ahead[fetched]
	now   []byte // the range
	rest  []byte // what is left of it
	err   error
}

func (r *rangeReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		release(r.now)
		r.now = nil
		got, ok := r.ahead.next()
		if !ok {
			r.err = io.EOF
			continue
		}
		r.now, r.rest, r.err = got.b, got.b, got.err
		if got.err != nil {
			r.rest = nil
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *rangeReader) Close() error {
	r.ahead.stop()
	return nil
}

// buffers are kept for further ranges.
var buffers = sync.Pool{New: func() any { return new([rangeSize]byte) }}

func buffer(n int64) []byte {
	if n < rangeSize/2 {
		return make([]byte, n)
	}
	return buffers.Get().(*[rangeSize]byte)[:n]
}

func release(b []byte) {
	if cap(b) == rangeSize {
		buffers.Put((*[rangeSize]byte)(b[:rangeSize]))
	}
}
