//go:build !386 && !arm

package mount

import (
	"context"
	"io/fs"
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
)

// A node is a number of FUSE for an entry, and its inode number. It tells where the entry is:
//
//	1                      the version's root
//	firstNode + n          entry n
//	d<<nodeBits + that     a folder without an entry: the first d elements of its path
//
// So nothing has to be remembered of what the kernel knows.
type node = uint64

const (
	firstNode = 16 // below it are the root, and the places of . and .. in a listing
	nodeBits  = 48
)

// nodeOf is the node of an entry.
func nodeOf(v *view.View, e *tree.Entry) (node, error) {
	if e.Path == "" {
		return fuse.FUSE_ROOT_ID, nil
	}
	n, err := v.Number(e.Path)
	if err != nil {
		return 0, err
	}
	id := uint64(n) + firstNode
	if !e.IsDir() {
		return id, nil
	}
	first, err := v.Numbered(n)
	if err != nil {
		return 0, err
	}
	if first.Path != e.Path {
		id |= uint64(strings.Count(e.Path, "/")) << nodeBits
	}
	return id, nil
}

// entryOf is the entry of a node.
func entryOf(v *view.View, id node) (*tree.Entry, error) {
	if id == fuse.FUSE_ROOT_ID {
		return lstat(v, ".")
	}
	n, depth := int64(id&(1<<nodeBits-1))-firstNode, int(id>>nodeBits)
	e, err := v.Numbered(n)
	if err != nil || depth == 0 {
		return e, err
	}
	elems := strings.SplitN(e.Path, "/", depth+1)
	if len(elems) <= depth {
		return nil, fs.ErrNotExist
	}
	return lstat(v, strings.Join(elems[:depth], "/"))
}

// lstat is the entry at a path, which may be made up for a folder.
func lstat(v *view.View, path string) (*tree.Entry, error) {
	info, err := v.Lstat(path)
	if err != nil {
		return nil, err
	}
	return info.(view.Info).Entry(), nil
}

// child is the entry of a name in a folder. It is nil if there is none.
func child(ctx context.Context, v *view.View, folder *tree.Entry, name string) (*tree.Entry, error) {
	path := folder.Path + name
	if tree.CheckPath(path) != nil {
		return nil, nil
	}
	e, err := lstat(v.WithContext(ctx), path)
	if isMissing(err) {
		return nil, nil
	}
	return e, err
}
