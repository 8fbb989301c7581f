package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/internal/place"
	"github.com/vaultpack/vaultpack/internal/walk"
)

// Overwrite says how a restore treats files and links that already exist.
type Overwrite int

const (
	// OverwriteChanged replaces what differs in kind, size, time or mode. Something of
	// a different kind than the entry, such as a folder in place of a file, is replaced
	// only if it is empty or exactly as in another version of the dataset.
	OverwriteChanged Overwrite = iota
	// OverwriteAlways replaces every file, and files and links in place of folders.
	OverwriteAlways
	// OverwriteIfNewer replaces what was modified before the entry was. Folders keep
	// their attributes.
	OverwriteIfNewer
	// OverwriteNever replaces nothing. Folders keep their attributes.
	OverwriteNever
)

// inTheWay returns the error that says what is in the place of an entry and why it stays.
func (r *job) inTheWay(e *tree.Entry) error {
	what, way := "a folder is in the place of this file", "--delete removes it"
	if e.IsDir() {
		what, way = "a file or a link is in the place of this folder", "--overwrite always replaces it"
	}
	if r.Overwrite >= OverwriteIfNewer {
		return errors.New(what + ", and existing files are to be kept")
	}
	return fmt.Errorf("%s, and it is not from a version of the dataset; move it away and run the same command again, or %s", what, way)
}

// mayClear returns an error that says why something of another kind, in the place of an
// entry, may not be removed.
func (r *job) mayClear(ctx context.Context, e *tree.Entry) error {
	switch {
	case r.holdsOwn(e.Name()):
		return walk.ErrOwn
	case r.Delete:
		return nil
	case r.Overwrite >= OverwriteIfNewer:
		return r.inTheWay(e)
	case e.IsDir() && r.Overwrite == OverwriteAlways:
		return nil
	}
	if !e.IsDir() {
		if empty, err := r.isEmpty(ctx, e.Path+"/"); err != nil || empty {
			return err
		}
	}
	known, err := r.putThere(ctx, e)
	if err == nil && !known {
		err = r.inTheWay(e)
	}
	return err
}

// clear moves aside what is in the place of an entry. It is removed with the staging
// folder at the end, unless it is moved back.
func (r *job) clear(ctx context.Context, e *tree.Entry) (putBack func(), err error) {
	if err := r.mayClear(ctx, e); err != nil {
		return nil, err
	}
	r.to.CloseLast() // it may hold the folder that is moved
	dir, err := r.to.Parent(e)
	if err != nil {
		return nil, err
	}
	base, name := path.Base(e.Name()), r.to.StageName()
	aside := func() error {
		if r.Shard != nil && e.IsDir() {
			if err := r.asideFile(dir, base, name, e); err == nil || r.madeMeanwhile(e) {
				return err
			} // a file system without links
		}
		return place.Retry("put aside", e.Name(), func() error { return unix.Renameat(dir, base, r.to.StageFD, name) })
	}
	err = aside()
	// A folder that its owner may not write to cannot be moved to another folder.
	if errors.Is(err, fs.ErrPermission) && r.openUp(e.Name()+"/") {
		err = aside()
	}
	if err != nil {
		return nil, err
	}
	gone := &tree.Entry{Path: e.Name()}
	if !e.IsDir() {
		gone.Path += "/"
	}
	r.tell(Remove, gone)
	return func() {
		if dir, err := r.to.Parent(e); err == nil {
			unix.Renameat(r.to.StageFD, name, dir, base)
		}
	}, nil
}

// errStop ends a walk early.
var errStop = errors.New("stop")

// isEmpty reports whether there are only folders below a folder.
func (r *job) isEmpty(ctx context.Context, dir string) (bool, error) {
	w := &walk.Tree{Root: r.to.Root, Enter: func(_ string, d fs.DirEntry) error {
		if !d.IsDir() {
			return errStop
		}
		return nil
	}}
	err := w.Folder(ctx, dir)
	if errors.Is(err, errStop) {
		return false, nil
	}
	return err == nil, err
}

// earlierVersions are the other versions of the dataset, read when needed.
type earlierVersions struct {
	read     bool
	versions []*dataset.Version
}

// maxEarlier is how many versions are tried, the newest first.
const maxEarlier = 16

func (l *earlierVersions) load(ctx context.Context, v *dataset.Version) ([]*dataset.Version, error) {
	if l.read {
		return l.versions, nil
	}
	d := jobs.DatasetOf(v)
	numbers, err := d.Versions(ctx)
	if err != nil {
		return nil, err
	}
	for i := len(numbers) - 1; i >= 0 && len(l.versions) < maxEarlier; i-- {
		if numbers[i] == v.Number {
			continue
		}
		// A version that cannot be read proves nothing about what is there.
		if other, err := d.Version(ctx, numbers[i]); err == nil {
			l.versions = append(l.versions, other)
		}
	}
	l.read = true
	return l.versions, ctx.Err()
}

// putThere reports whether the place of an entry holds exactly what another version
// of the dataset has there: the same files by size and time, and no others.
func (r *job) putThere(ctx context.Context, e *tree.Entry) (bool, error) {
	versions, err := r.earlier.load(ctx, r.version)
	if err != nil {
		return false, err
	}
	for _, v := range versions {
		err := r.isOf(ctx, v, e)
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
	}
	return false, nil
}

// isOf compares what is in the place of an entry, of another kind, with a version.
func (r *job) isOf(ctx context.Context, v *dataset.Version, e *tree.Entry) error {
	name := e.Name()
	start := name
	if !e.IsDir() {
		start += "/" // it is a folder in that version
	}
	c := walk.NewCursor(ctx, v, start)
	defer c.Stop()
	same := func(p string, d fs.DirEntry) error {
		known, err := c.Find(p)
		if err != nil {
			return err
		}
		if known == nil || !r.isAs(known, d) {
			return errStop
		}
		return nil
	}
	if e.IsDir() {
		d, err := r.to.Root.Lstat(name)
		if err != nil {
			return err
		}
		return same(start, fs.FileInfoToDirEntry(d))
	}
	if known, err := c.Find(start); err != nil || known == nil {
		return errors.Join(err, errStop)
	}
	w := &walk.Tree{Root: r.to.Root, Enter: same}
	return w.Folder(ctx, start)
}

// isAs reports whether what is on disk is the entry, by size, time and target.
func (r *job) isAs(e *tree.Entry, d fs.DirEntry) bool {
	info, err := d.Info()
	if err != nil {
		return false
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return e.IsDir()
	case fs.ModeSymlink:
		dir, err := r.to.Parent(e)
		return err == nil && e.IsLink() && place.Readlink(dir, path.Base(e.Path)) == e.Link
	case 0:
		return e.IsFile() && info.Size() == e.Size && place.HeldTime(info.ModTime(), e.ModTime)
	}
	return false
}

// timeIs reports whether a file in the destination has the time, as far as its file
// system can represent it: that is tested on another file.
func (r *job) timeIs(got, want time.Time) bool {
	if got.Equal(want) {
		return true
	}
	if r.staging == "" || !place.HeldTime(got, want) {
		return false
	}
	const probe = ".probe"
	var st unix.Stat_t
	fd, err := r.to.Create(probe)
	if err == nil {
		unix.Close(fd)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) || place.SetTime(r.to.StageFD, probe, want) != nil || place.Lstat(r.to.StageFD, probe, &st) != nil {
		return false
	}
	return got.Equal(place.ModTime(&st))
}
