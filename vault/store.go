package vault

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/vaultpack/vaultpack/internal/atomicfile"
)

// A Store keeps objects under slash-separated names. Writing an object is atomic,
// and the object is durable when the call returns. The error for a missing object
// wraps fs.ErrNotExist. A Store is safe for concurrent use, including by several
// processes.
type Store interface {
	// Put stores what write writes. If write fails, or the process dies, nothing
	// new is stored under the name, and an existing object is kept.
	Put(ctx context.Context, name string, write func(io.Writer) error) error
	// Create stores a small object if no object has the name. Otherwise it returns
	// an error that wraps fs.ErrExist. Of several concurrent callers, one
	// succeeds.
	Create(ctx context.Context, name string, data []byte) error
	// Replace replaces a small object if it still holds old. Otherwise it returns
	// an error that wraps ErrChanged. Of several concurrent callers, one succeeds.
	Replace(ctx context.Context, name string, old, data []byte) error
	// Get reads n bytes starting at off, or to the end if n is negative. If the
	// object is shorter, the reader returns fewer bytes.
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	// Stat returns an object's size and modification time.
	Stat(ctx context.Context, name string) (Object, error)
	// List yields the objects whose names begin with prefix, in the order of their
	// names. prefix is empty or ends in a slash.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Folders returns, in order, the distinct first path elements that follow
	// prefix in the names of objects below it.
	Folders(ctx context.Context, prefix string) ([]string, error)
	// Delete removes an object. If it does not exist, Delete returns nil.
	Delete(ctx context.Context, name string) error
}

// ErrChanged is returned by Replace for an object that no longer holds the old contents.
var ErrChanged = atomicfile.ErrChanged

// An Object is what a Store reports about one object.
type Object struct {
	Name     string
	Size     int64
	Modified time.Time
}
