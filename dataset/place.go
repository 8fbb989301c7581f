package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// The calls of this file name a folder by its descriptor and a file in it by one
// path element, so that no link is followed and no path is resolved again for
// each of a million files.

// retry repeats a call that a signal has interrupted, and says what failed.
func retry(op, name string, call func() error) error {
	for {
		err := call()
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
		return nil
	}
}

// setTime takes seconds and nanoseconds apart: in nanoseconds alone, times before
// 1678 and after 2262 would wrap. Where the system's numbers have 32 bits, a time
// beyond these is set to their end, as file systems do with times beyond theirs.
func setTime(dir int, name string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	switch {
	case err == unix.ERANGE && t.Unix() < 0:
		ts, err = unix.TimeToTimespec(time.Unix(math.MinInt32, 0))
	case err == unix.ERANGE:
		ts, err = unix.TimeToTimespec(time.Unix(math.MaxInt32, 0))
	}
	if err != nil {
		return &fs.PathError{Op: "set the time of", Path: name, Err: err}
	}
	return retry("utimensat", name, func() error {
		return utimesat(dir, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func lstat(dir int, name string, st *unix.Stat_t) error {
	return retry("stat", name, func() error { return unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW) })
}

// An openFolder is the folder that was used last: entries come in the order of
// their paths, so it is mostly the one that is needed next.
type openFolder struct {
	path string
	f    *os.File
	fd   int
}

func (o *openFolder) close() {
	if o.f != nil {
		o.f.Close()
		o.f = nil
	}
}

// A notFolderError says what is in the place of a folder that a path leads through.
type notFolderError struct{ path string }

func (e *notFolderError) Error() string {
	return fmt.Sprintf("%q is a link or a file in the place of a folder, and no link is followed", e.path)
}

// openBelow opens a folder below root by its path, empty or with a slash at the end.
// No element of it may be a link. from is an open folder above it, or nil.
func openBelow(root *os.Root, from *openFolder, dir string) (*os.File, error) {
	var f *os.File
	var err error
	rest, at, shared := dir, "", false
	if from != nil && from.f != nil && from.path != "" && strings.HasPrefix(dir, from.path) {
		f, rest, at, shared = from.f, dir[len(from.path):], from.path, true
	} else if f, err = root.OpenFile(".", os.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return nil, err
	}
	for rest != "" {
		elem, more, _ := strings.Cut(rest, "/")
		at += elem + "/"
		rest = more
		fd := -1
		err := retry("open", at, func() (err error) {
			fd, err = unix.Openat(int(f.Fd()), elem, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			return err
		})
		if !shared {
			f.Close()
		}
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil, &notFolderError{strings.TrimSuffix(at, "/")}
		}
		if err != nil {
			return nil, err
		}
		f, shared = os.NewFile(uintptr(fd), at), false
	}
	return f, nil
}

// parent opens the folder that the entry lies in, below the destination.
func (r *Restore) parent(e *tree.Entry) (fd int, err error) { return r.openDir(parentOf(e)) }

func (r *Restore) openDir(dir string) (fd int, err error) {
	if r.last.f != nil && r.last.path == dir {
		return r.last.fd, nil
	}
	if r.root == nil {
		return 0, fs.ErrNotExist // a dry run
	}
	f, err := openBelow(r.root, &r.last, dir)
	if err != nil {
		return 0, err
	}
	r.last.close()
	r.last = openFolder{path: dir, f: f, fd: int(f.Fd())}
	return r.last.fd, nil
}

// makeParent is parent, but makes the folders that are missing, for their owner
// alone: nothing is known of them.
func (r *Restore) makeParent(e *tree.Entry) (fd int, err error) {
	if fd, err = r.parent(e); !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	dir := parentOf(e)
	for i, c := range []byte(dir) {
		if c != '/' {
			continue
		}
		if fd, err = r.openDir(dir[:strings.LastIndexByte(dir[:i], '/')+1]); err != nil {
			return 0, err
		}
		elem := path.Base(dir[:i])
		err = retry("mkdir", dir[:i], func() error { return unix.Mkdirat(fd, elem, 0o700) })
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
	}
	return r.parent(e)
}

// A thing is what lies in the place of an entry.
type thing int

const (
	nothingThere thing = iota
	sameThere          // the file, by size, time and mode
	fileThere
	linkThere
	folderThere
	otherThere
)

// otherKind reports whether a rename cannot replace it by the entry.
func (t thing) otherKind(e *tree.Entry) bool {
	if e.IsDir() {
		return t != nothingThere && t != folderThere
	}
	return t == folderThere
}

// look looks at the place of an entry, and decides what Overwrite makes of it. What a
// run before this one has put there, or the user, is the same if it has the size,
// time and mode.
func (r *Restore) look(e *tree.Entry) (thing, Action) {
	dir, err := r.parent(e)
	var st unix.Stat_t
	if err != nil || lstat(dir, path.Base(e.Name()), &st) != nil {
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
		r.hasMode(&st, e) && r.timeIs(modTime(&st), e.ModTime):
		return sameThere, ""
	case there == linkThere && e.IsLink() && readlink(dir, path.Base(e.Path)) == e.Link:
		return there, Replace // its time, if anything
	case there == folderThere:
		return there, Replace // if that may be
	case r.Overwrite == OverwriteNever, r.Overwrite == OverwriteIfNewer && !e.ModTime.After(modTime(&st)):
		return there, Leave
	}
	return there, Replace
}

// readlink is the target of a link, or empty.
func readlink(dir int, name string) string {
	b := make([]byte, unix.PathMax)
	n := 0
	err := retry("readlink", name, func() (err error) {
		n, err = unix.Readlinkat(dir, name, b)
		return err
	})
	if err != nil {
		return ""
	}
	return string(b[:max(n, 0)])
}

var errFolderThere = errors.New("a folder is in the place of this file")

// place moves what was staged under a name to the entry's place.
func (r *Restore) place(staged string, e *tree.Entry) error {
	dir, err := r.makeParent(e)
	if err != nil {
		return err
	}
	base := path.Base(e.Path)
	err = retry("rename", e.Path, func() error { return unix.Renameat(r.stageFD, staged, dir, base) })
	var st unix.Stat_t
	if err != nil && lstat(dir, base, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return errFolderThere
	}
	return err
}

// put is place, but takes out of the way what may be.
func (r *Restore) put(ctx context.Context, staged string, e *tree.Entry) error {
	action := Create
	if r.Told != nil {
		if there, _ := r.look(e); there != nothingThere {
			action = Replace
		}
	}
	err := r.place(staged, e)
	if errors.Is(err, errFolderThere) {
		var putBack func()
		if putBack, err = r.clear(ctx, e); err == nil {
			if err = r.place(staged, e); err != nil {
				putBack()
			}
		}
	}
	if err == nil {
		r.tell(action, e)
	}
	return err
}
