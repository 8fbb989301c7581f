package place

import (
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

// The calls of this file name a folder by its descriptor and a file in it by one path
// element, so that no link is followed and no path is resolved again for each of a
// million files.

// Retry repeats a call that a signal has interrupted, and says what failed.
func Retry(op, name string, call func() error) error {
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

// SetTime takes seconds and nanoseconds separately: in nanoseconds alone, times before
// 1678 and after 2262 would wrap. If the system's times have 32 bits, a time out of
// range is set to the limit, as file systems do.
func SetTime(dir int, name string, t time.Time) error {
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
	return Retry("utimensat", name, func() error {
		return Utimesat(dir, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func Lstat(dir int, name string, st *unix.Stat_t) error {
	return Retry("stat", name, func() error { return unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW) })
}

// An openFolder is the folder that was used last: entries come in the order of their
// paths, so it is usually needed next.
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

// A NotFolderError says what is in the place of a folder that a path leads through.
type NotFolderError struct{ path string }

func (e *NotFolderError) Error() string {
	return fmt.Sprintf("%q is a link or a file in the place of a folder, and no link is followed", e.path)
}

// OpenBelow opens a folder below root by its path, which is empty or ends in a slash. No
// element of it may be a link. from is an open folder above it, or nil.
func OpenBelow(root *os.Root, from *openFolder, dir string) (*os.File, error) {
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
		err := Retry("open", at, func() (err error) {
			fd, err = unix.Openat(int(f.Fd()), elem, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			return err
		})
		if !shared {
			f.Close()
		}
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil, &NotFolderError{strings.TrimSuffix(at, "/")}
		}
		if err != nil {
			return nil, err
		}
		f, shared = os.NewFile(uintptr(fd), at), false
	}
	return f, nil
}

// Parent opens the folder that the entry lies in, below the destination.
func (d *Dest) Parent(e *tree.Entry) (fd int, err error) { return d.OpenDir(ParentOf(e)) }

func (d *Dest) OpenDir(dir string) (fd int, err error) {
	if d.last.f != nil && d.last.path == dir {
		return d.last.fd, nil
	}
	if d.Root == nil {
		return 0, fs.ErrNotExist // in a dry run
	}
	f, err := OpenBelow(d.Root, &d.last, dir)
	if err != nil {
		return 0, err
	}
	d.last.close()
	d.last = openFolder{path: dir, f: f, fd: int(f.Fd())}
	return d.last.fd, nil
}

// MakeParent is like Parent, but makes missing folders, accessible only to their owner:
// nothing is known about them.
func (d *Dest) MakeParent(e *tree.Entry) (fd int, err error) {
	if fd, err = d.Parent(e); !errors.Is(err, fs.ErrNotExist) {
		return fd, err
	}
	dir := ParentOf(e)
	for i, c := range []byte(dir) {
		if c != '/' {
			continue
		}
		if fd, err = d.OpenDir(dir[:strings.LastIndexByte(dir[:i], '/')+1]); err != nil {
			return 0, err
		}
		elem := path.Base(dir[:i])
		err = Retry("mkdir", dir[:i], func() error { return unix.Mkdirat(fd, elem, 0o700) })
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
	}
	return d.Parent(e)
}

// Readlink returns the target of a link, or "".
func Readlink(dir int, name string) string {
	b := make([]byte, unix.PathMax)
	n := 0
	err := Retry("readlink", name, func() (err error) {
		n, err = unix.Readlinkat(dir, name, b)
		return err
	})
	if err != nil {
		return ""
	}
	return string(b[:max(n, 0)])
}

var ErrFolderThere = errors.New("a folder is in the place of this file")

// Place moves what was staged under a name to the entry's place.
func (d *Dest) Place(staged string, e *tree.Entry) error {
	dir, err := d.MakeParent(e)
	if err != nil {
		return err
	}
	base := path.Base(e.Path)
	err = Retry("rename", e.Path, func() error { return unix.Renameat(d.StageFD, staged, dir, base) })
	var st unix.Stat_t
	if err != nil && Lstat(dir, base, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return ErrFolderThere
	}
	return err
}
