package restore

import (
	"context"
	"errors"
	"path"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/place"
)

// A thing is what exists in the place of an entry.
type thing int

const (
	nothingThere thing = iota
	sameThere          // the file, by size, time and mode
	fileThere
	linkThere
	folderThere
	otherThere
)

// otherKind reports whether a rename cannot replace it with the entry.
func (t thing) otherKind(e *tree.Entry) bool {
	if e.IsDir() {
		return t != nothingThere && t != folderThere
	}
	return t == folderThere
}

// look examines the place of an entry, and decides what Overwrite means for it. A file
// from an earlier run or from the user counts as the same if it has the size, time and
// mode.
func (r *job) look(e *tree.Entry) (thing, Action) {
	dir, err := r.to.Parent(e)
	var st unix.Stat_t
	if err != nil || place.Lstat(dir, path.Base(e.Name()), &st) != nil {
		return nothingThere, Create
	}
	there := otherThere
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		there = fileThere
	case unix.S_IFLNK:
		there = linkThere
	case unix.S_IFDIR:
		there = folderThere
	}
	switch {
	case e.IsDir():
		return there, Replace
	case there == fileThere && e.IsFile() && r.Overwrite != OverwriteAlways && st.Size == e.Size &&
		r.to.HasMode(&st, e) && r.timeIs(place.ModTime(&st), e.ModTime):
		return sameThere, ""
	case there == linkThere && e.IsLink() && place.Readlink(dir, path.Base(e.Path)) == e.Link:
		return there, Replace // only its time, if at all
	case there == folderThere:
		return there, Replace // if that is allowed
	case r.Overwrite == OverwriteNever, r.Overwrite == OverwriteIfNewer && !e.ModTime.After(place.ModTime(&st)):
		return there, Leave
	}
	return there, Replace
}

// put places what is staged, after moving aside what it may replace.
func (r *job) put(ctx context.Context, staged string, e *tree.Entry) error {
	action := Create
	if r.Told != nil {
		if there, _ := r.look(e); there != nothingThere {
			action = Replace
		}
	}
	err := r.inShared(e, func() error { return r.to.Place(staged, e) })
	if errors.Is(err, place.ErrFolderThere) {
		var putBack func()
		if putBack, err = r.clear(ctx, e); err == nil {
			if err = r.to.Place(staged, e); err != nil {
				putBack()
			}
		}
	}
	if err == nil {
		r.tell(action, e)
	}
	return err
}
