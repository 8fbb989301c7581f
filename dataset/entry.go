package dataset

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

// header is the header that the object must have.
func (o Object) header(kind envelope.Kind) envelope.Header {
	return envelope.Header{Kind: kind, KeyID: o.KeyID, ObjectID: o.ID}
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

// Seen tells a file from another that took its name, size and time: the inode
// number and change time, which mean something on one machine only.
type Seen struct {
	Host       string
	Inode      uint64
	ChangeTime time.Time
}

// IsDir tells whether the entry is a folder.
func (e *Entry) IsDir() bool { return e.Path == "" || strings.HasSuffix(e.Path, "/") }

// IsLink tells whether the entry is a symbolic link.
func (e *Entry) IsLink() bool { return e.Link != "" }

// IsFile tells whether the entry is a regular file.
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
	var none envelope.ContentSum
	for i, x := range e.Extents {
		y := o.Extents[i]
		if x.At == y.At && x.Length == y.Length && x.Pack.KeyID == y.Pack.KeyID && x.Sum != none && y.Sum != none && x.Sum != y.Sum {
			return true
		}
	}
	return false
}

// Name is the path without the slash of a folder, "." for the root.
func (e *Entry) Name() string { return path.Clean("./" + e.Path) }

// parent is the path of the folder that the entry lies in.
func (e *Entry) parent() string {
	p := strings.TrimSuffix(e.Path, "/")
	return p[:strings.LastIndexByte(p, '/')+1]
}

// check refuses what no honest writer makes and a restore must not follow:
// absolute paths, dot elements, sizes and extents that do not fit.
func (e *Entry) check() error {
	bad := func(why string) error { return fmt.Errorf("the index entry %q %s", e.Path, why) }
	if e.Path != "" {
		if err := CheckPath(strings.TrimSuffix(e.Path, "/")); err != nil {
			return err
		}
	}
	if len(e.Link) > maxPath {
		return bad(fmt.Sprintf("is a link with a target of %d bytes, and %d is the most", len(e.Link), maxPath))
	}
	if e.Size < 0 || e.Mode&^modeMask != 0 {
		return bad("has a size or mode out of range")
	}
	if e.Flaw != "" && e.Flaw != FlawKept && e.Flaw != FlawTorn {
		return bad("has an unknown flaw")
	}
	if !e.IsFile() && (len(e.Extents) > 0 || e.Size != 0) || e.IsDir() && e.IsLink() {
		return bad("is no file but has contents")
	}
	return nil
}

// CheckPath says whether a file of a dataset may have the path: relative, of at
// most 4096 bytes, and without empty or dot elements.
func CheckPath(p string) error {
	if len(p) > maxPath {
		return fmt.Errorf("a path of %d bytes, which begins with %q, cannot be that of a file in a dataset: %d is the most", len(p), p[:64], maxPath)
	}
	for elem := range strings.SplitSeq(p, "/") {
		if elem == "" || elem == "." || elem == ".." || strings.ContainsRune(elem, 0) {
			return fmt.Errorf("%q cannot be the path of a file in a dataset: it must be relative, without empty, . or .. elements", p)
		}
	}
	return nil
}

const modeMask = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// checkExtents makes sure that the extents are the whole file and lie in their
// packs.
func (e *Entry) checkExtents() error {
	at := int64(0)
	for _, x := range e.Extents {
		size, err := x.Pack.PlaintextSize()
		if err != nil || x.At != at || x.Length < 0 || x.Offset < 0 || x.Offset > size-x.Length {
			return fmt.Errorf("the index entry %q has extents that do not fit", e.Path)
		}
		at += x.Length
	}
	if e.IsFile() && at != e.Size {
		return fmt.Errorf("the index entry %q has extents of %d bytes for a file of %d", e.Path, at, e.Size)
	}
	return nil
}
