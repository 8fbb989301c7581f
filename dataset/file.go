package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/packs"
)

// A File reads any range of one file of a version. Every byte that it returns is
// authentic: the file is opened by chunks of 16 KiB, each authenticated at its position
// in a pack that the version names. The sums of the contents are compared only when a
// file is read completely, by WriteFile and by a restore.
//
// It is safe for concurrent use. Reads fail once the context that it was opened with
// has ended.
type File struct {
	version *Version
	entry   *tree.Entry
	ctx     context.Context

	mu     sync.Mutex
	closed bool
	packs  map[envelope.ObjectID]*envelope.ReaderAt
}

// OpenFile opens a file by its path. For a folder or a link the error wraps
// fs.ErrInvalid; if nothing has the path, it wraps ErrNoEntry.
func (v *Version) OpenFile(ctx context.Context, path string) (*File, error) {
	e, err := v.Lookup(ctx, path)
	if err != nil {
		return nil, err
	}
	if !e.IsFile() {
		return nil, fmt.Errorf("%q is not a file: %w", e.Name(), fs.ErrInvalid)
	}
	return &File{version: v, entry: e, ctx: ctx, packs: map[envelope.ObjectID]*envelope.ReaderAt{}}, nil
}

var errNoFile = errors.New("dataset: a file that was not opened")

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

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if f == nil || f.version == nil {
		return 0, errNoFile
	}
	if err := f.version.begin(f.ctx); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, fmt.Errorf("%q: a negative offset", f.entry.Path)
	}
	for _, x := range f.entry.Extents {
		if len(p) == 0 {
			return n, nil
		}
		if off < x.At || off >= x.At+x.Length {
			continue
		}
		from := off - x.At
		part := p[:min(int64(len(p)), x.Length-from)]
		k, err := f.readPack(x, part, from)
		n += k
		if err != nil {
			return n, f.version.set().Because(err)
		}
		p, off = p[k:], off+int64(k)
	}
	if len(p) > 0 {
		return n, io.EOF
	}
	return n, nil
}

// readPack reads part of an extent.
func (f *File) readPack(x tree.Extent, p []byte, from int64) (int, error) {
	r, err := f.pack(x.Pack)
	if err != nil {
		return 0, err
	}
	n, err := r.ReadAt(p, x.Offset+from)
	if n == len(p) {
		return n, nil
	}
	return n, f.version.set().PackError(x.Pack, packs.NoEOF(err))
}

// pack opens a pack, once.
func (f *File) pack(o *tree.Object) (*envelope.ReaderAt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fs.ErrClosed
	}
	if r := f.packs[o.ID]; r != nil {
		return r, nil
	}
	r, err := f.version.set().OpenPackAt(f.ctx, o)
	if err != nil {
		return nil, err
	}
	f.packs[o.ID] = r
	return r, nil
}

// Close wipes the keys of the opened packs. Later reads fail.
func (f *File) Close() error {
	if f == nil || f.version == nil {
		return errNoFile
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, r := range f.packs {
		r.Close()
	}
	return nil
}
