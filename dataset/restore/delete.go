package restore

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/place"
	"github.com/vaultpack/vaultpack/internal/walk"
)

// deleteExtras removes what is selected in the destination but not in the version.
func (r *job) deleteExtras(ctx context.Context) error {
	if !r.Delete || r.to.Root == nil {
		return nil
	}
	from := ""
	if r.Shard != nil {
		from = r.Shard.From
	}
	c := walk.NewCursor(ctx, r.version, from)
	defer c.Stop()
	remove := func(p string) error {
		e := &tree.Entry{Path: p}
		if r.Select != nil && !r.Select(e) {
			return nil
		}
		return r.remove(e)
	}
	extra := map[string]bool{} // folders that are being walked
	w := &walk.Tree{Root: r.to.Root, Enter: func(p string, d fs.DirEntry) error {
		if r.isOwn(p) || d.IsDir() && walk.IsStaging(d.Name()) {
			return fs.SkipDir
		}
		if !r.Shard.Has(p) {
			if d.IsDir() && !r.Shard.Meets(p) {
				return fs.SkipDir
			}
			return nil // other workers remove it
		}
		known, err := c.Find(p)
		if err != nil || known != nil || walk.IsOwn(r.keep, p) {
			return err
		}
		switch {
		case d.IsDir():
			if info, err := d.Info(); err == nil && info.Mode()&0o500 != 0o500 {
				r.openUp(p) // so that it can be walked
			}
			extra[p] = true
			return nil
		case d.Type().IsRegular() && r.isKey(p) && (r.Select == nil || r.Select(&tree.Entry{Path: p})):
			r.fail(&tree.Entry{Path: p}, errIsKey)
			return nil
		}
		return remove(p)
	}, Leave: func(p string) error {
		if !extra[p] {
			return nil
		}
		delete(extra, p)
		return remove(p)
	}}
	return w.Folder(ctx, "")
}

// remove removes one path of the destination. A folder stays if something in it must
// not be removed.
func (r *job) remove(e *tree.Entry) error {
	if r.DryRun {
		r.Deleted.Add(1)
		r.tell(Remove, e)
		return nil
	}
	flags := 0
	if e.IsDir() {
		flags = unix.AT_REMOVEDIR
		r.to.CloseLast()
	}
	unlink := func() error {
		dir, err := r.to.Parent(e)
		if err != nil {
			return err
		}
		return place.Retry("remove", e.Path, func() error { return unix.Unlinkat(dir, path.Base(e.Name()), flags) })
	}
	err := r.inShared(e, unlink)
	if errors.Is(err, fs.ErrPermission) && r.openUp(place.ParentOf(e)) {
		err = unlink()
	}
	var not *place.NotFolderError
	switch {
	case err == nil:
		r.Deleted.Add(1)
		r.tell(Remove, e)
	case errors.Is(err, fs.ErrNotExist), r.Shard != nil && errors.As(err, &not): // it is gone
	case e.IsDir() && (errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST)):
	default:
		r.fail(e, err)
	}
	return nil
}

// isOwn reports whether a path, without a slash at its end, is the vault or a key, or
// lies in it, or would replace a folder that holds it.
func (r *job) isOwn(p string) bool { return walk.IsOwn(r.own, p) }

// holdsOwn reports whether the vault or a key is at a path, in it or above it.
func (r *job) holdsOwn(p string) bool {
	for _, o := range slices.Concat(r.own, r.keep) {
		if strings.HasPrefix(string(o), p+"/") {
			return true
		}
	}
	return r.isOwn(p)
}
