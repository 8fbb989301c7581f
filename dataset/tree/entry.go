// Package tree describes what a version of a dataset holds: its files, folders and
// symbolic links, and where in the vault their contents lie.
package tree

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
)

// An Object pins one sealed object of a dataset: which attempt to write it is,
// and the exact bytes.
type Object struct {
	ID    envelope.ObjectID
	KeyID envelope.KeyID
	Pin   envelope.Pin
}

// PlaintextSize is the number of bytes sealed in the object.
func (o Object) PlaintextSize() (int64, error) { return envelope.PlaintextSize(o.Pin.Size) }

// An Entry is one file, folder or symbolic link of a version.
type Entry struct {
	// Path is slash-separated and relative, in any bytes but NUL. That of a
	// folder ends in a slash, and that of the uploaded folder itself is empty.
	Path    string
	Size    int64
	Mode    fs.FileMode // permissions, with fs.ModeSetuid, ModeSetgid and ModeSticky
	ModTime time.Time
	Link    string // the target, of a symbolic link
	Sum     []byte // SHA-256 of the contents, where it was asked for
	Extents []Extent
	// Seen identifies the file on the machine that read it; zero where unknown.
	Seen Seen
	// Recent reports that the file had changed so shortly before it was read that
	// another change might have left its times as they are.
	Recent bool
	// Flaw says what is wrong with the entry, where its file could not be read as
	// it should be.
	Flaw Flaw
}

// A Flaw says why an entry is not the file as it was when the version was made.
type Flaw string

const (
	// FlawKept is an entry taken over from the version before, because the file
	// could not be read.
	FlawKept Flaw = "kept"
	// FlawTorn is an entry with contents that were read while the file was being
	// written to: they may never have been in it all at once.
	FlawTorn Flaw = "torn"
)

// An Extent is a run of a file's bytes inside a pack.
type Extent struct {
	Pack   *Object
	Offset int64 // in the pack's plaintext
	Length int64
	At     int64 // in the file
	// Sum is the keyed sum of the run's bytes, under the data key of the pack; zero
	// where none was recorded.
	Sum envelope.ContentSum
}

// HasSum reports whether a sum was recorded.
func (x Extent) HasSum() bool { return x.Sum != envelope.ContentSum{} }

// Seen tells a file from another that took its name, size and time: the inode
// number and change time, which mean something on one machine only.
type Seen struct {
	Host       string
	Inode      uint64
	ChangeTime time.Time
}

// IsDir reports whether the entry is a folder.
func (e *Entry) IsDir() bool { return e.Path == "" || strings.HasSuffix(e.Path, "/") }

// IsLink reports whether the entry is a symbolic link.
func (e *Entry) IsLink() bool { return e.Link != "" }

// IsFile reports whether the entry is a regular file.
func (e *Entry) IsFile() bool { return !e.IsDir() && !e.IsLink() }

// Equal reports whether the two are the same file in the same state: by path, size,
// mode, time and link target, by the sums of their contents where both have such,
// and by what is wrong with them. Where the contents lie does not count: a file may
// have been sent again with its sample.
func (e *Entry) Equal(o *Entry) bool {
	return e.Path == o.Path && e.Size == o.Size && e.Mode == o.Mode && e.ModTime.Equal(o.ModTime) && e.Link == o.Link &&
		e.Flaw == o.Flaw && (e.Sum == nil || o.Sum == nil || bytes.Equal(e.Sum, o.Sum)) && !e.sumsDiffer(o)
}

// sumsDiffer reports whether keyed sums show that the contents differ. Sums of
// different runs, or under different data keys, show nothing.
func (e *Entry) sumsDiffer(o *Entry) bool {
	if len(e.Extents) != len(o.Extents) {
		return false
	}
	for i, x := range e.Extents {
		y := o.Extents[i]
		if x.At == y.At && x.Length == y.Length && x.Pack.KeyID == y.Pack.KeyID && x.HasSum() && y.HasSum() && x.Sum != y.Sum {
			return true
		}
	}
	return false
}

// Name is the path without the slash of a folder, "." for the root.
func (e *Entry) Name() string { return path.Clean("./" + e.Path) }

// MaxPath bounds a path and the target of a link: no system takes longer ones.
const MaxPath = 4 << 10

// CheckPath returns an error unless a file of a dataset may have the path: relative, of at
// most 4096 bytes, and without empty or dot elements.
func CheckPath(p string) error {
	if len(p) > MaxPath {
		return fmt.Errorf("a path of %d bytes, which begins with %q, cannot be that of a file in a dataset: %d is the most", len(p), p[:64], MaxPath)
	}
	for elem := range strings.SplitSeq(p, "/") {
		if elem == "" || elem == "." || elem == ".." || strings.ContainsRune(elem, 0) {
			return fmt.Errorf("%q cannot be the path of a file in a dataset: it must be relative, without empty, . or .. elements", p)
		}
	}
	return nil
}
