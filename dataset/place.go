package dataset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
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

func setTime(dir int, name string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return &fs.PathError{Op: "set the time of", Path: name, Err: err}
	}
	return retry("utimensat", name, func() error {
		return unix.UtimesNanoAt(dir, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
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

// parent opens the folder that the entry lies in, below the destination.
func (r *Restore) parent(e *Entry) (fd int, err error) {
	dir := e.parent()
	if r.last.f != nil && r.last.path == dir {
		return r.last.fd, nil
	}
	r.last.close()
	f, err := r.root.OpenFile(path.Clean("./"+dir), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return 0, err
	}
	r.last = openFolder{path: dir, f: f, fd: int(f.Fd())}
	return r.last.fd, nil
}

// isThere tells whether a run before this one, or the user, has the file already.
func (r *Restore) isThere(e *Entry) bool {
	dir, err := r.parent(e)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	err = retry("stat", e.Path, func() error { return unix.Fstatat(dir, path.Base(e.Path), &st, unix.AT_SYMLINK_NOFOLLOW) })
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == e.Size &&
		uint32(st.Mode)&0o7777 == posixMode(e.Mode) && modTime(&st).Equal(e.ModTime)
}

func (r *Restore) stageName() string { return strconv.FormatInt(r.seq.Add(1), 36) }

// create makes a file in the staging folder.
func (r *Restore) create(name string) (fd int, err error) {
	err = retry("create", name, func() (err error) {
		fd, err = unix.Openat(r.stageFD, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	return fd, err
}

// inOneWrite is the size up to which a file is held in memory and written by one
// call.
const inOneWrite = 1 << 20

// writeSize is what is written of a larger one at once. More does not stay in
// the caches.
const writeSize = 256 << 10

var stagePool = sync.Pool{New: func() any { b := make([]byte, inOneWrite); return &b }}

// stage writes one extent of a file to its staged file.
func (r *Restore) stage(e *Entry, x Extent, src io.Reader) error {
	if len(e.Extents) <= 1 && e.Size <= inOneWrite {
		return r.stageSmall(e, src)
	}
	f, err := r.stagedFile(e)
	if err != nil {
		return err
	}
	// The pieces of a file are written at once, and take turns at its lock: few
	// large writes wait less than many small ones.
	buf := stagePool.Get().(*[]byte)
	defer stagePool.Put(buf)
	n, err := io.CopyBuffer(io.NewOffsetWriter(f, x.At), src, (*buf)[:writeSize])
	r.Bytes.Add(n)
	return err
}

func (r *Restore) stageSmall(e *Entry, src io.Reader) error {
	buf := stagePool.Get().(*[]byte)
	defer stagePool.Put(buf)
	b := (*buf)[:e.Size]
	if _, err := io.ReadFull(src, b); err != nil {
		return err
	}
	s, name := r.stagedOf(e), r.stageName()
	fd, err := r.create(name)
	if err != nil {
		return err
	}
	s.name = name // of this goroutine alone: a small file has one extent
	for rest := b; len(rest) > 0 && err == nil; {
		var n int
		err = retry("write", e.Path, func() (err error) {
			n, err = unix.Write(fd, rest)
			return err
		})
		rest = rest[max(n, 0):]
	}
	r.Bytes.Add(int64(len(b)))
	return r.finish(e, name, fd, func() error { return unix.Close(fd) }, err)
}

func (r *Restore) stagedOf(e *Entry) *stagedFile {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.staged[e]
}

// stagedFile opens the staged file, which all pieces of a file share.
func (r *Restore) stagedFile(e *Entry) (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.staged[e]
	if s.f != nil {
		return s.f, nil
	}
	name := r.stageName()
	fd, err := r.create(name)
	if err != nil {
		return nil, err
	}
	s.name, s.f = name, os.NewFile(uintptr(fd), name)
	return s.f, nil
}

// finish gives a staged file its mode and time, unless writing it has failed
// with err, and closes it.
func (r *Restore) finish(e *Entry, name string, fd int, close func() error, err error) error {
	if err == nil {
		err = retry("chmod", e.Path, func() error { return unix.Fchmod(fd, posixMode(e.Mode)) })
	}
	if err == nil {
		err = syncFile(fd)
	}
	// What close says of earlier writes matters; there is no trying again.
	if cerr := close(); err == nil && cerr != nil && !errors.Is(cerr, unix.EINTR) {
		err = fmt.Errorf("closing the file: %w", cerr)
	}
	if err != nil {
		return err
	}
	return setTime(r.stageFD, name, e.ModTime)
}

// place moves what was staged under a name to the entry's place.
func (r *Restore) place(staged string, e *Entry) error {
	dir, err := r.parent(e)
	if errors.Is(err, fs.ErrNotExist) {
		if err := r.root.MkdirAll(path.Dir(e.Path), 0o755); err != nil {
			return err
		}
		dir, err = r.parent(e)
	}
	if err != nil {
		return err
	}
	base := path.Base(e.Path)
	err = retry("rename", e.Path, func() error { return unix.Renameat(r.stageFD, staged, dir, base) })
	var st unix.Stat_t
	if err != nil && unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return errors.New("a folder is in the place of this file; move it away and run the same command again")
	}
	return err
}
