package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// Overwrite says what a Restore does with files and links that are there already.
type Overwrite int

const (
	// OverwriteChanged replaces what differs in kind, size, time or mode. What is of
	// another kind than the entry, such as a folder in the place of a file, is replaced
	// only if it is empty or just as another version of the dataset has it.
	OverwriteChanged Overwrite = iota
	// OverwriteAlways replaces every file, and files and links in the place of folders.
	OverwriteAlways
	// OverwriteIfNewer replaces what was modified before the entry was. Folders keep
	// their attributes.
	OverwriteIfNewer
	// OverwriteNever replaces nothing. Folders keep their attributes.
	OverwriteNever
)

// inTheWay says what is in the place of an entry and why it stays.
func (r *Restore) inTheWay(e *tree.Entry) error {
	what, way := "a folder is in the place of this file", "--delete removes it"
	if e.IsDir() {
		what, way = "a file or a link is in the place of this folder", "--overwrite always replaces it"
	}
	if r.Overwrite >= OverwriteIfNewer {
		return errors.New(what + ", and what is there is to stay")
	}
	return fmt.Errorf("%s, and no version of the dataset has put it there; move it away and run the same command again, or %s", what, way)
}

// mayClear reports with an error why what is in the place of an entry, and is of
// another kind, may not be removed.
func (r *Restore) mayClear(ctx context.Context, e *tree.Entry) error {
	switch {
	case r.holdsOwn(e.Name()):
		return errOwn
	case r.Delete:
		return nil
	case r.Overwrite >= OverwriteIfNewer, r.version == nil:
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

// clear puts aside what is in the place of an entry. It is removed with the staging
// folder in the end, unless it is put back.
func (r *Restore) clear(ctx context.Context, e *tree.Entry) (putBack func(), err error) {
	if err := r.mayClear(ctx, e); err != nil {
		return nil, err
	}
	r.last.close() // it may be what is going
	dir, err := r.parent(e)
	if err != nil {
		return nil, err
	}
	base, name := path.Base(e.Name()), r.stageName()
	aside := func() error {
		return retry("put aside", e.Name(), func() error { return unix.Renameat(dir, base, r.stageFD, name) })
	}
	err = aside()
	// A folder that its owner may not write to does not move to another one.
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
		if dir, err := r.parent(e); err == nil {
			unix.Renameat(r.stageFD, name, dir, base)
		}
	}, nil
}

// errStop ends a walk early.
var errStop = errors.New("stop")

// isEmpty reports whether there are only folders below a folder.
func (r *Restore) isEmpty(ctx context.Context, dir string) (bool, error) {
	w := &treeWalk{root: r.root, enter: func(_ string, d fs.DirEntry) error {
		if !d.IsDir() {
			return errStop
		}
		return nil
	}}
	err := w.folder(ctx, dir)
	if errors.Is(err, errStop) {
		return false, nil
	}
	return err == nil, err
}

// earlierVersions are the other versions of the dataset, read when they are needed.
type earlierVersions struct {
	read     bool
	versions []*Version
}

// maxEarlier is how many versions are looked at, the newest first.
const maxEarlier = 16

func (l *earlierVersions) load(ctx context.Context, v *Version) ([]*Version, error) {
	if l.read {
		return l.versions, nil
	}
	numbers, err := v.of().Versions(ctx)
	if err != nil {
		return nil, err
	}
	for i := len(numbers) - 1; i >= 0 && len(l.versions) < maxEarlier; i-- {
		if numbers[i] == v.Number {
			continue
		}
		// One that cannot be read proves nothing of what is there.
		if other, err := v.of().Version(ctx, numbers[i]); err == nil {
			l.versions = append(l.versions, other)
		}
	}
	l.read = true
	return l.versions, ctx.Err()
}

// putThere reports whether what is in the place of an entry is just what another
// version of the dataset has there: the same files by size and time, and no others.
func (r *Restore) putThere(ctx context.Context, e *tree.Entry) (bool, error) {
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
func (r *Restore) isOf(ctx context.Context, v *Version, e *tree.Entry) error {
	name := e.Name()
	start := name
	if !e.IsDir() {
		start += "/" // it is a folder there
	}
	c := v.cursor(ctx, start)
	defer c.stop()
	same := func(p string, d fs.DirEntry) error {
		known, err := c.find(p)
		if err != nil {
			return err
		}
		if known == nil || !r.isAs(known, d) {
			return errStop
		}
		return nil
	}
	if e.IsDir() {
		d, err := r.root.Lstat(name)
		if err != nil {
			return err
		}
		return same(start, fs.FileInfoToDirEntry(d))
	}
	if known, err := c.find(start); err != nil || known == nil {
		return errors.Join(err, errStop)
	}
	w := &treeWalk{root: r.root, enter: same}
	return w.folder(ctx, start)
}

// isAs reports whether what is on disk is the entry, by size, time and target.
func (r *Restore) isAs(e *tree.Entry, d fs.DirEntry) bool {
	info, err := d.Info()
	if err != nil {
		return false
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return e.IsDir()
	case fs.ModeSymlink:
		dir, err := r.parent(e)
		return err == nil && e.IsLink() && readlink(dir, path.Base(e.Path)) == e.Link
	case 0:
		return e.IsFile() && info.Size() == e.Size && heldTime(info.ModTime(), e.ModTime)
	}
	return false
}

// timeIs reports whether a file of the destination has the time, as far as its file
// system can hold it: that is tried on another file.
func (r *Restore) timeIs(got, want time.Time) bool {
	if got.Equal(want) {
		return true
	}
	if r.staging == "" || !heldTime(got, want) {
		return false
	}
	const probe = ".probe"
	var st unix.Stat_t
	fd, err := r.create(probe)
	if err == nil {
		unix.Close(fd)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) || setTime(r.stageFD, probe, want) != nil || lstat(r.stageFD, probe, &st) != nil {
		return false
	}
	return got.Equal(modTime(&st))
}

// heldTime reports whether a file system that cannot hold a time as it is might have
// made another of it: by cutting it off to what it counts in, or at the ends of what
// it can count.
func heldTime(got, want time.Time) bool {
	if got.Equal(want) {
		return true
	}
	for _, unit := range []int64{100, 1000, 10_000_000, 1_000_000_000} { // NTFS; many; exFAT; ext3
		if got.Unix() == want.Unix() && int64(got.Nanosecond()) == int64(want.Nanosecond())/unit*unit {
			return true
		}
	}
	sec := want.Unix()
	if got.Nanosecond() == 0 && got.Unix() == sec-sec&1 { // FAT
		return true
	}
	// 1901, 1970 and 1980; 2038, 2106, 2107, 2262, 2446 and 2486: what file systems end at.
	for _, least := range []int64{-1 << 31, 0, 315532800} {
		if sec < least && got.Unix() == least {
			return true
		}
	}
	for _, most := range []int64{1<<31 - 1, 1<<32 - 1, 4354819198, 4354819199, 9223372036, 15032385535, 16299260424, 16299260425} {
		if sec >= most && got.Unix() == most {
			return true
		}
	}
	return false
}

// treeWalk goes through a folder on disk in the order of an index, without following
// any link.
type treeWalk struct {
	root *os.Root
	// enter is called for everything; the path of a folder ends in a slash. If it
	// returns fs.SkipDir, what lies in the folder is passed over.
	enter func(p string, d fs.DirEntry) error
	// leave is called for each folder after what lies in it. May be nil.
	leave func(p string) error
}

// folder walks below a folder, whose path is empty or ends in a slash.
func (w *treeWalk) folder(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := w.read(dir)
	if errors.Is(err, syscall.ENOENT) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	for _, d := range entries {
		p := dir + d.Name()
		if d.IsDir() {
			p += "/"
		}
		err := w.enter(p, d)
		if errors.Is(err, fs.SkipDir) {
			continue
		}
		if err != nil {
			return err
		}
		if !d.IsDir() {
			continue
		}
		if err := w.folder(ctx, p); err != nil {
			return err
		}
		if w.leave != nil {
			if err := w.leave(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// A cursor finds entries whose paths are asked for in their order.
type cursor struct {
	next func() (*tree.Entry, error, bool)
	stop func()
	at   *tree.Entry
	err  error
	end  bool
}

// find gives the entry of the path, or nil.
func (c *cursor) find(p string) (*tree.Entry, error) {
	for !c.end && c.err == nil && (c.at == nil || strings.Compare(c.at.Path, p) < 0) {
		var ok bool
		if c.at, c.err, ok = c.next(); !ok {
			c.end = true
		}
	}
	if c.err != nil || c.end || c.at.Path != p {
		return nil, c.err
	}
	return c.at, nil
}
