// Package view reads a version of a dataset where it lies, as a file system: any file,
// any range, with what was read last and what is likely to be read next in memory.
//
// A [View] is an fs.FS. Its files are also io.ReaderAt, io.Seeker and io.WriterTo. Once a
// version is open, the first byte of a file costs one request for a part of the index and
// one for the range of a pack; what was read ahead of then costs none. Nothing is written
// to disk, but for sealed contents if [Options] have a cache.
//
// # What is authenticated
//
// Every byte is authenticated before it is returned, at its position in a pack that the
// signed version names. That alone does not stop a reader of the dataset who can also
// write to the vault: who has the data key can seal other bytes in the place of a pack.
// The sums of the contents, which the signed version holds, do. A file of at most 1 MiB is
// compared with its sum before its first byte is returned. A larger one is compared piece
// by piece as far as it is read from the first byte of a piece to the last, in order; the
// error then comes after the bytes. What is read of a larger file in another order is not
// compared. Package verify compares everything.
package view

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/cache"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// Options are the bounds of a View. The zero value stands for the defaults.
type Options struct {
	// Memory bounds the contents that are kept, in bytes: 128 MiB by default, and at
	// least 16 MiB. What is being fetched takes up to 100 MiB more.
	Memory int64
	// IndexMemory bounds the parts of the index that are kept, in bytes: 128 MiB by
	// default, some 400,000 files. At least one part is kept.
	IndexMemory int64
	// Cache, if it is not nil, keeps sealed contents on a disk. It must stay open.
	Cache *cache.Cache
}

const (
	defaultMemory = 128 << 20
	minMemory     = 16 << 20
)

// A View is a version as a file system. Paths are those of [fs.FS]: relative, with slashes,
// and "." for the version's root. Unlike fs.ValidPath requires, they need not be UTF-8.
// Symbolic links are followed inside of the version; see [ErrOutside]. Folders are read-only.
//
// It is safe for concurrent use.
type View struct {
	ctx context.Context // of the caller's reads
	*shared
}

// shared is what all Views of one Open have in common.
type shared struct {
	version *dataset.Version
	set     *objects.Set
	parts   *parts
	pages   *pages
	before  []int64 // the number of entries in the parts before each part
	end     context.CancelFunc

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup // fetches and reads that are under way
}

var errNoView = errors.New("view: a View that Open has not returned")

// Open opens a version for reading, until ctx ends or Close is called. The dataset must
// stay open.
func Open(ctx context.Context, v *dataset.Version, o Options) (*View, error) {
	if err := given.Check(ctx, v != nil && objects.Of(v).Usable(), errors.New("view: a version that was not read from a dataset")); err != nil {
		return nil, err
	}
	if o.Memory < 0 || o.IndexMemory < 0 {
		return nil, fmt.Errorf("view: negative bounds of memory (%d and %d bytes)", o.Memory, o.IndexMemory)
	}
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.IndexMemory == 0 {
		o.IndexMemory = defaultMemory
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &shared{version: v, set: objects.Of(v), end: cancel}
	n := int64(0)
	for _, p := range v.Parts {
		s.before = append(s.before, n)
		n += int64(p.Entries)
	}
	s.parts = newParts(ctx, s, o.IndexMemory)
	s.pages = newPages(ctx, s, max(o.Memory, minMemory), o.Cache)
	return &View{ctx, s}, nil
}

// WithContext returns the same view, of which every read also ends when ctx does. It is
// closed with v.
func (v *View) WithContext(ctx context.Context) *View {
	if v == nil || v.shared == nil {
		return nil
	}
	return &View{ctx, v.shared}
}

// Version returns the version that is read.
func (v *View) Version() *dataset.Version {
	if v == nil || v.shared == nil {
		return nil
	}
	return v.version
}

// Close ends the reads that are under way, which fail, and waits for them. It clears what
// is in memory. Later reads return an error that wraps fs.ErrClosed.
func (v *View) Close() error {
	if v == nil || v.shared == nil {
		return errNoView
	}
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.end()
	v.work.Wait()
	v.pages.clear()
	v.parts.clear()
	return nil
}

// begin is called before every read, and done after one that it has allowed.
func (v *View) begin() (done func(), err error) {
	if done, err = v.enter(); err != nil {
		return nil, err
	}
	if err := given.Context(v.ctx); err != nil {
		done()
		return nil, v.because(err)
	}
	return done, nil
}

// enter keeps Close from ending before done is called.
func (s *shared) enter() (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fs.ErrClosed
	}
	s.work.Add(1)
	return s.work.Done, nil
}

// because is err, or why it came to that: the view or the dataset was closed.
func (v *View) because(err error) error {
	if err == nil {
		return nil
	}
	v.mu.Lock()
	closed := v.closed
	v.mu.Unlock()
	if closed && errors.Is(err, context.Canceled) {
		return fs.ErrClosed
	}
	return v.set.Because(err)
}

// usable is begin with the error of a View that is none.
func (v *View) usable(op, name string) (done func(), err error) {
	if v == nil || v.shared == nil {
		return nil, errNoView
	}
	if !valid(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if done, err = v.begin(); err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return done, nil
}

// valid reports whether name is a path as fs.FS has them, of any bytes.
func valid(name string) bool {
	return name == "." || tree.CheckPath(name) == nil
}
