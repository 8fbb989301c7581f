//go:build !386 && !arm

package mount

import (
	"fmt"
	"path"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
)

// Places in the listing of a folder. Behind a child the place is its node, so a listing can
// be taken up anywhere.
const (
	atDot = iota
	atDotDot
	atChildren
)

// add takes an entry into a listing, with its node and its place, and reports whether it has
// fit.
type add func(v *view.View, d fuse.DirEntry, e *tree.Entry) (bool, error)

func (f *fileSystem) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.list(cancel, in, func(_ *view.View, d fuse.DirEntry, _ *tree.Entry) (bool, error) { return out.AddDirEntry(d), nil })
}

func (f *fileSystem) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.list(cancel, in, func(v *view.View, d fuse.DirEntry, e *tree.Entry) (bool, error) {
		room := out.AddDirLookupEntry(d)
		if room == nil || d.Off <= atChildren { // . and .. are not looked up
			return room != nil, nil
		}
		return true, f.fill(v, e, room)
	})
}

// list adds the entries of a folder from a place on, as many as fit.
func (f *fileSystem) list(cancel <-chan struct{}, in *fuse.ReadIn, add add) fuse.Status {
	v, ctx, done := f.begin(cancel, in.Pid)
	defer done()
	folder, err := entryOf(v, in.NodeId)
	if err != nil {
		return f.status(ctx, "", err)
	}
	added, err := f.addAll(v, folder, in, add)
	if err != nil && added > 0 {
		return fuse.OK // the next request begins with it
	}
	return f.status(ctx, folder.Path, err)
}

func (f *fileSystem) addAll(v *view.View, folder *tree.Entry, in *fuse.ReadIn, add add) (added int, err error) {
	at, after := in.Offset, (*tree.Entry)(nil)
	for ; at < atChildren; at++ {
		d := fuse.DirEntry{Name: ".", Ino: in.NodeId, Mode: typeOf(folder), Off: at + 1}
		if at == atDotDot {
			d.Name = ".."
			if d.Ino, err = parentOf(v, folder); err != nil {
				return added, err
			}
		}
		if fits, err := add(v, d, nil); err != nil || !fits {
			return added, err
		}
		added++
	}
	if at > atChildren {
		if after, err = entryOf(v, at); err != nil {
			return added, err
		}
	}
	for e, err := range v.Children(folder, after) {
		if err != nil {
			return added, err
		}
		name := path.Base(e.Path)
		if len(name) > maxName {
			return added, fmt.Errorf("it has a name of %d bytes, which is more than the kernel takes", len(name))
		}
		id, err := nodeOf(v, e)
		if err != nil {
			return added, err
		}
		if fits, err := add(v, fuse.DirEntry{Name: name, Ino: id, Mode: typeOf(e), Off: id}, e); err != nil || !fits {
			return added, err
		}
		added++
	}
	return added, nil
}

// parentOf is the node of the folder that a folder lies in.
func parentOf(v *view.View, folder *tree.Entry) (node, error) {
	if folder.Path == "" {
		return fuse.FUSE_ROOT_ID, nil
	}
	e, err := lstat(v, path.Dir(folder.Name()))
	if err != nil {
		return 0, err
	}
	return nodeOf(v, e)
}
