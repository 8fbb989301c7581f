package codec

import (
	"fmt"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
)

// Weight returns the approximate number of bytes of memory that the entry takes.
func Weight(e *tree.Entry) int {
	return 256 + len(e.Path) + len(e.Link) + 64*len(e.Extents)
}

// MaxWeight limits how much of a version is held in memory at one time, in bytes of
// weight: entries whose files are being read, or folders whose attributes are set
// last.
const MaxWeight = 96 << 20

// Check rejects what no honest writer makes and a restore must not follow: absolute
// paths, dot elements, and sizes and extents that do not match.
func Check(e *tree.Entry) error {
	bad := func(why string) error { return fmt.Errorf("the index entry %q %s", e.Path, why) }
	if e.Path != "" {
		if err := tree.CheckPath(strings.TrimSuffix(e.Path, "/")); err != nil {
			return err
		}
	}
	if len(e.Link) > tree.MaxPath {
		return bad(fmt.Sprintf("is a link with a target of %d bytes, and %d is the most", len(e.Link), tree.MaxPath))
	}
	if e.Size < 0 || e.Mode&^fsys.ModeMask != 0 {
		return bad("has a size or mode out of range")
	}
	if e.Flaw != "" && e.Flaw != tree.FlawKept && e.Flaw != tree.FlawTorn {
		return bad("has an unknown flaw")
	}
	if !e.IsFile() && (len(e.Extents) > 0 || e.Size != 0) || e.IsDir() && e.IsLink() {
		return bad("is no file but has contents")
	}
	return nil
}

// CheckExtents checks that the extents cover the whole file and lie inside their packs.
func CheckExtents(e *tree.Entry) error {
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

// packLen is the approximate number of bytes that a pack takes in a list.
const packLen = 256

// PathLen returns what the entry counts towards partPathLen. Small files share packs; a
// large file has packs to itself.
func PathLen(e *tree.Entry) int {
	return len(e.Path) + len(e.Link) + packLen*max(len(e.Extents)-1, 0)
}
