package vault

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/vaultpack/vaultpack/internal/atomicfile"
)

// A Store keeps objects under slash-separated names. Objects are written as a
// whole or not at all, and are durable when the call has returned. A missing
// object is an error that wraps fs.ErrNotExist. A Store is safe for concurrent
// use, also by several processes.
type Store interface {
	// Put stores what write writes. If write fails, or the process dies,
	// nothing is stored under the name, and an older object stays.
	Put(ctx context.Context, name string, write func(io.Writer) error) error
	// Create stores a small object only if there is none of the name, else it
	// returns an error that wraps fs.ErrExist. Of several callers one wins.
	Create(ctx context.Context, name string, data []byte) error
	// Replace changes a small object only if it still holds old, else it returns
	// an error that wraps ErrChanged. Of several callers one wins.
	Replace(ctx context.Context, name string, old, data []byte) error
	// Get reads n bytes from off, or to the end if n is negative. An object
	// that is shorter gives fewer bytes.
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	// Stat tells an object's size and age.
	Stat(ctx context.Context, name string) (Object, error)
	// List gives the objects whose names begin with prefix, which ends in a
	// slash or is empty, in the order of their names.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Folders gives the distinct first path elements of the names that begin
	// with prefix and go on below it, in order.
	Folders(ctx context.Context, prefix string) ([]string, error)
	// Delete removes an object. That it is gone already is no error.
	Delete(ctx context.Context, name string) error
}

// ErrChanged is returned by Replace for an object that is another by now.
var ErrChanged = atomicfile.ErrChanged

// An Object is what a Store tells about one object.
type Object struct {
	Name     string
	Size     int64
	Modified time.Time
}
