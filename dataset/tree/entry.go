// Package tree describes what a version of a dataset holds: its files, folders and
// symbolic links, and where in the vault their contents are stored.
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

// An Object pins one sealed object of a dataset: the attempt to write it, and
// the exact bytes.
type Object struct {
	ID    envelope.ObjectID
	KeyID envelope.KeyID
	Pin   envelope.Pin
}

// PlaintextSize returns the number of plaintext bytes in the object.
func (o Object) PlaintextSize() (int64, error) { return envelope.PlaintextSize(o.Pin.Size) }

// An Entry is one file, folder or symbolic link of a version.
type Entry struct {
	// Path is slash-separated and relative, of any bytes except NUL. The path of a
	// folder ends in a slash, and the path of the uploaded folder itself is empty.
	Path    string
	Size    int64
	Mode    fs.FileMode // permissions, with fs.ModeSetuid, ModeSetgid and ModeSticky
	ModTime time.Time
	Link    string // the target, of a symbolic link
	Sum     []byte // SHA-256 of the contents, if it was requested
	Extents []Extent
	// Seen identifies the file on the machine that read it. It is zero if unknown.
	Seen Seen
	// Recent reports whether the file changed so shortly before it was read that
	// another change might leave its times the same.
	Recent bool
	// Flaw says what is wrong with the entry, if its file could not be read
	// properly.
	Flaw Flaw
}

// A Flaw says why an entry does not match the file as it was when the version was
// made.
type Flaw string

const (
	// FlawKept marks an entry copied from the previous version, because the file
	// could not be read.
	FlawKept Flaw = "kept"
	// FlawTorn marks an entry whose contents were read while the file was being
	// written to. The file may never have had exactly these contents.
	FlawTorn Flaw = "torn"
)

// An Extent is a run of a file's bytes inside a pack.
type Extent struct {
	Pack   *Object
	Offset int64 // in the pack's plaintext
	Length int64
	At     int64 // in the file
	// Sum is the keyed sum of the extent's bytes, under the data key of the pack.
	// It is zero if none was recorded.
	Sum envelope.ContentSum
}

// HasSum reports whether a sum was recorded.
func (x Extent) HasSum() bool { return x.Sum != envelope.ContentSum{} }

// Seen distinguishes a file from another file with the same name, size and
// time. It holds the inode number and change time, which have a meaning on one
// machine only.
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

// Equal reports whether e and o are the same file in the same state. It compares
// path, size, mode, time, link target and flaw, and the sums of the contents if
// both have one. It does not compare where the contents are stored: a file may have
// been uploaded again with its sample.
func (e *Entry) Equal(o *Entry) bool {
	return e.Path == o.Path && e.Size == o.Size && e.Mode == o.Mode && e.ModTime.Equal(o.ModTime) && e.Link == o.Link &&
		e.Flaw == o.Flaw && (e.Sum == nil || o.Sum == nil || bytes.Equal(e.Sum, o.Sum)) && !e.sumsDiffer(o)
}

// sumsDiffer reports whether keyed sums show that the contents differ. Sums of different
// runs, or under different data keys, show nothing.
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

// Name returns the path without the slash of a folder, or "." for the root.
func (e *Entry) Name() string { return path.Clean("./" + e.Path) }

// MaxPath is the maximum length of a path and of a link's target: no system accepts
// longer ones.
const MaxPath = 4 << 10

// CheckPath returns an error unless p is valid for a file of a dataset: relative, at most
// 4096 bytes long, and without empty or dot elements.
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
