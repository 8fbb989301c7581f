package restore

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/place"
)

// Several workers restore the shards of a version to one folder. What only one shard has, only
// its worker touches. A folder that several share is made by the first, and each of them
// sets its mode and time once everything of its own is in it: so it has them when all
// have ended. Until then another worker may find it closed, and opens it again.

// above makes the folders of earlier shards that the first entry of the shard lies in.
func (r *job) above(ctx context.Context) error {
	all, err := r.Shard.Above(ctx, r.version)
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := r.order.Check(e.Path); err != nil {
			r.fail(e, err)
			continue
		}
		if !e.IsDir() {
			continue // only for its order
		}
		r.folders.follow(e)
		if r.Select == nil || r.Select(e) {
			r.wanted(ctx, e)
		}
	}
	return nil
}

// A change is tried again maxOpenings times after another worker had closed a folder, which
// each worker does once for each, and maxIdle times after no folder was found closed.
const (
	maxOpenings = 2000
	maxIdle     = 3
)

// inShared makes a change at the place of an entry, and again if another worker has just
// closed a folder above it.
func (r *job) inShared(e *tree.Entry, change func() error) error {
	err := change()
	for tries, idle := 0, 0; r.Shard != nil && errors.Is(err, fs.ErrPermission) && tries < maxOpenings && idle < maxIdle; tries++ {
		if !r.openAbove(e) {
			idle++
		}
		err = change()
	}
	return err
}

// openAbove opens the folders above an entry that other workers may have closed. It reports
// whether one was closed.
func (r *job) openAbove(e *tree.Entry) bool {
	opened := r.openRoot()
	dir := place.ParentOf(e)
	for i, c := range []byte(dir) {
		if p := dir[:i+1]; c == '/' && r.Shard.Shares(p) {
			opened = r.openUp(p) || opened
		}
	}
	return opened
}

// openRoot lets the owner write to the destination, and reports whether another worker had
// closed it.
func (r *job) openRoot() bool {
	if !r.Shard.Shares("") || r.DryRun {
		return false
	}
	fd, err := r.to.OpenDir("")
	var st unix.Stat_t
	return err == nil && unix.Fstat(fd, &st) == nil && st.Mode&0o700 != 0o700 &&
		r.to.Chmod(fd, ".", uint32(st.Mode)&0o7777|0o700) == nil
}

// asideFile moves aside a file or a link in the place of a folder, unless another worker has
// made the folder meanwhile: unlike a rename, that cannot take away a folder.
func (r *job) asideFile(dir int, base, name string, e *tree.Entry) error {
	err := place.Retry("put aside", e.Name(), func() error { return unix.Linkat(dir, base, r.to.StageFD, name, 0) })
	if err != nil {
		return err
	}
	if err = place.Retry("put aside", e.Name(), func() error { return unix.Unlinkat(dir, base, 0) }); err != nil {
		r.to.Unstage(name)
	}
	return err
}

// madeMeanwhile reports whether another worker has made a shared folder.
func (r *job) madeMeanwhile(e *tree.Entry) bool {
	if !r.Shard.Shares(e.Path) {
		return false
	}
	dir, err := r.to.Parent(e)
	var st unix.Stat_t
	return err == nil && place.Lstat(dir, path.Base(strings.TrimSuffix(e.Path, "/")), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}
