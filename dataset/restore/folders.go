package restore

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/shards"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/place"
)

// A folderList follows a restore through the folders of a version, and keeps those whose
// attributes must be set once everything in them exists.
type folderList struct {
	created bool          // the restore has made the destination, so that it gets attributes
	above   []*tree.Entry // from the root down to the current entry
	made    int           // how many of them have been made
	set     []*tree.Entry // in the order of their paths, up to maxFolders
	weight  int           // of these, in memory
	more    bool          // there are more than set holds
	// further holds those of the additional folders whose entries alone do not say what
	// to do: they were made for their contents, without being selected.
	further map[string]bool
	shard   *shards.Shard
	own     map[string]unix.Stat_t // folders that existed before and keep their attributes
}

// maxFolders is the maximum number of folders kept until their attributes are set,
// about 30 MB. If there are more, the index is read once more.
var maxFolders = 100_000 // a variable for the tests only

// follow moves on to the next entry of the version.
func (l *folderList) follow(e *tree.Entry) {
	n := len(l.above)
	for n > 0 && !strings.HasPrefix(e.Path, l.above[n-1].Path) {
		n--
	}
	l.above, l.made = l.above[:n], min(l.made, n)
	if e.IsDir() {
		l.above = append(l.above, e)
	}
}

// add keeps a folder, and reports whether there was room for it. If not, its entry is
// read once more.
func (l *folderList) add(e *tree.Entry) bool {
	if l.weight += codec.Weight(e); !l.more && len(l.set) < maxFolders && l.weight < codec.MaxWeight {
		l.set = append(l.set, e)
		return true
	}
	l.more = true
	return false
}

// addSpecial keeps a folder whose entry alone does not say that its attributes are set.
func (l *folderList) addSpecial(e *tree.Entry) {
	if l.add(e) {
		return
	}
	if l.further == nil {
		l.further = map[string]bool{}
	}
	l.further[e.Path] = true
}

// keepOwn remembers the attributes of an existing folder that keeps them.
func (l *folderList) keepOwn(path string, st unix.Stat_t) {
	if l.shard.Shares(path) {
		return // other workers change them too
	}
	if l.own == nil {
		l.own = map[string]unix.Stat_t{}
	}
	if _, known := l.own[path]; !known && len(l.own) < maxFolders {
		l.own[path] = st
	}
}

// foldersAbove makes the missing folders above an entry, with the attributes that the
// version has for them, whether or not they were selected.
func (r *job) foldersAbove(ctx context.Context, e *tree.Entry) error {
	l := &r.folders
	for ; l.made < len(l.above) && l.above[l.made] != e; l.made++ {
		if err := r.folder(ctx, l.above[l.made], onTheWay); err != nil {
			return err
		}
	}
	return nil
}

// planAbove is like foldersAbove, for a dry run.
func (r *job) planAbove(ctx context.Context, e *tree.Entry) error {
	l := &r.folders
	for ; l.made < len(l.above) && l.above[l.made] != e; l.made++ {
		if err := r.planFolder(ctx, l.above[l.made], onTheWay); err != nil {
			return err
		}
	}
	return nil
}

// A need says why a folder is made.
type need int

const (
	onTheWay need = iota // for its contents
	selected
)

// planFolder counts a folder that folder would make, or whose attributes it would set.
func (r *job) planFolder(ctx context.Context, e *tree.Entry, why need) error {
	there, _ := r.look(e)
	switch {
	case e.Path == "":
		if !r.folders.created {
			return nil
		}
	case there.otherKind(e):
		if err := r.mayClear(ctx, e); err != nil {
			return err
		}
	case there == folderThere && (why == onTheWay || r.Overwrite >= OverwriteIfNewer):
		return nil
	}
	r.Folders.Add(1)
	return nil
}

// folder makes a folder that its owner can write to; its own mode is set last. An
// existing folder gets the version's attributes only if it was selected, and the
// destination only if the restore made it.
func (r *job) folder(ctx context.Context, e *tree.Entry, why need) error {
	if e.Path == "" {
		if r.folders.created {
			r.folders.addSpecial(e)
		}
		return nil
	}
	var dir int
	parent := func() (err error) {
		dir, err = r.to.MakeParent(e)
		return err
	}
	if err := r.inShared(e, parent); err != nil {
		return err
	}
	keeps := (why == onTheWay || r.Overwrite >= OverwriteIfNewer) && !r.Shard.Shares(e.Path)
	base := path.Base(e.Name())
	mode := uint32(0o700)
	if why == onTheWay && keeps { // so that a run that continues from a killed one does not set it again
		mode |= fsys.PosixMode(e.Mode) & 0o777
	}
	mkdir := func() error {
		return place.Retry("mkdir", e.Path, func() error { return unix.Mkdirat(dir, base, mode) })
	}
	err := r.inShared(e, func() error {
		if err := parent(); err != nil {
			return err
		}
		return mkdir()
	})
	var st unix.Stat_t
	if errors.Is(err, fs.ErrExist) {
		if err := place.Lstat(dir, base, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if keeps {
				r.folders.keepOwn(e.Path, st)
			} else {
				r.folders.add(e)
			}
			return r.letOwnerWrite(e, dir, base, st)
		}
		err = r.clearFor(ctx, e, func() (err error) {
			if dir, err = r.to.Parent(e); err == nil {
				err = mkdir()
			}
			return err
		})
	}
	switch {
	case err != nil:
		return err
	case keeps:
		r.folders.addSpecial(e)
	default:
		r.folders.add(e)
	}
	return nil
}

// clearFor makes a folder in the place of something else.
func (r *job) clearFor(ctx context.Context, e *tree.Entry, mkdir func() error) error {
	putBack, err := r.clear(ctx, e)
	if err == nil {
		if err = mkdir(); err != nil && !r.madeMeanwhile(e) {
			putBack()
		}
	}
	if err != nil && r.madeMeanwhile(e) {
		return nil
	}
	return err
}

// letOwnerWrite lets the owner write to an existing folder.
func (r *job) letOwnerWrite(e *tree.Entry, dir int, base string, st unix.Stat_t) error {
	if st.Mode&0o700 == 0o700 || r.noModes.Load() {
		return nil
	}
	return place.Retry("chmod", e.Path, func() error { return unix.Fchmodat(dir, base, uint32(st.Mode)&0o7777|0o700, 0) })
}

// openUp lets the owner read and write an existing folder that keeps its attributes,
// until those are restored. It reports whether that changed anything.
func (r *job) openUp(p string) bool {
	if p == "" || r.DryRun {
		return false // holdRoot has done it
	}
	e := &tree.Entry{Path: p}
	dir, err := r.to.Parent(e)
	base := path.Base(e.Name())
	var st unix.Stat_t
	if err != nil || place.Lstat(dir, base, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o700 == 0o700 {
		return false
	}
	r.folders.keepOwn(e.Path, st)
	return r.letOwnerWrite(e, dir, base, st) == nil
}

// folderAttributes sets the modes and times of the folders, each after everything in it.
// Unless the whole index has been read, only the known folders are done.
func (r *job) folderAttributes(ctx context.Context, whole bool) error {
	l := &r.folders
	var open []*tree.Entry // from the root down to the current folder
	closeTo := func(path string) {
		for n := len(open); n > 0 && !strings.HasPrefix(path, open[n-1].Path); n = len(open) {
			r.closeFolder(open[n-1])
			open = open[:n-1]
		}
	}
	next := func(e *tree.Entry) {
		closeTo(e.Path)
		open = append(open, e)
	}
	for _, e := range l.set {
		next(e)
	}
	var failed error
	if l.more && whole {
		after := ""
		if n := len(l.set); n > 0 {
			after = l.set[n-1].Path
		}
		for e, err := range r.version.EntriesFrom(ctx, after) {
			if err != nil {
				failed = err
				break
			}
			if r.Shard != nil && r.Shard.To != "" && e.Path >= r.Shard.To {
				break
			}
			if !e.IsDir() || e.Path == after || !r.Shard.Has(e.Path) {
				continue
			}
			if l.further[e.Path] || r.Overwrite < OverwriteIfNewer && (r.Select == nil || r.Select(e)) {
				next(e)
			}
		}
	}
	closeTo("\x00") // not a path: a prefix of the root's only
	r.keptAttributes()
	if len(open) == 0 || open[0].Path != "" {
		return failed
	}
	if m := open[0].Mode; !whole && m&0o700 != 0o700 {
		// The staging folder stays, as a sign to the next run that it has to do this.
		r.staging = ""
		return failed
	}
	r.removeStaging()
	r.closeFolder(open[0])
	return failed
}

// keptAttributes restores the attributes of the folders that keep theirs.
func (r *job) keptAttributes() {
	l := &r.folders
	for _, p := range slices.Backward(slices.Sorted(maps.Keys(l.own))) {
		if p == "" {
			if l.created {
				continue
			}
			r.removeStaging() // which changes its time
		}
		st := l.own[p]
		e := &tree.Entry{Path: p}
		f, err := place.OpenBelow(r.to.Root, nil, p)
		var not *place.NotFolderError
		if errors.Is(err, fs.ErrNotExist) || errors.As(err, &not) {
			continue // it was removed or replaced, as requested
		}
		if err != nil {
			r.fail(e, err)
			continue
		}
		if st.Mode&0o700 != 0o700 {
			err = r.to.Chmod(int(f.Fd()), p, uint32(st.Mode)&0o7777)
		}
		f.Close()
		if err == nil {
			err = r.to.SetFolderTime(e, place.ModTime(&st))
		}
		if err != nil && !errors.Is(err, fs.ErrPermission) { // someone else's folder
			r.fail(e, err)
		}
	}
}

func (r *job) closeFolder(e *tree.Entry) {
	switch there, err := r.to.CloseFolder(e); {
	case err != nil:
		r.fail(e, err)
	case there:
		r.Folders.Add(1)
	}
}

// holdRoot saves the attributes of an existing destination, and denies others access to a
// new one until it has those of the version. settle ends that if the version has none for
// it.
func (r *job) holdRoot(name string, made bool) (settle func(err error), err error) {
	fd, err := r.to.OpenDir("")
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := place.Retry("stat", ".", func() error { return unix.Fstat(fd, &st) }); err != nil {
		return nil, err
	}
	r.folders.keepOwn("", st)
	if !made {
		if st.Mode&0o700 == 0o700 {
			return func(error) {}, nil
		}
		// If this user may not write to it, another restore may have caused that. If it
		// belongs to someone else, the first write reports it.
		err := r.to.Chmod(fd, ".", uint32(st.Mode)&0o7777|0o700)
		if err != nil && !errors.Is(err, fs.ErrPermission) && !fsys.NoAttributes(err) {
			return nil, err
		}
		return func(error) {
			if l := r.folders.set; len(l) > 0 && l[0].Path == "" {
				return // it has the mode of the version
			}
			if fd, ferr := r.to.OpenDir(""); err == nil && ferr == nil {
				r.to.Chmod(fd, ".", uint32(st.Mode)&0o7777)
			}
		}, nil
	}
	if err := r.to.Chmod(fd, ".", 0o700); fsys.NoAttributes(err) {
		r.noModes.Store(true)
	} else if err != nil {
		return nil, err
	}
	return func(stopped error) {
		if l := r.folders.set; len(l) > 0 && l[0].Path == "" {
			return
		}
		if stopped != nil {
			// Nothing was written to it: the next run must make it, and must know that it
			// did.
			r.removeStaging()
			if os.Remove(name) == nil {
				return
			}
		}
		if fd, err = r.to.OpenDir(""); err == nil {
			r.to.Chmod(fd, ".", uint32(st.Mode)&0o7777)
		}
	}, nil
}
