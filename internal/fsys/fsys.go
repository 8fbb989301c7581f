// Package fsys makes the system calls that not every file system supports: locks,
// syncing a folder, hard links, a rename that replaces nothing. It distinguishes a
// call that the file system does not support, which callers work around, from one
// that has failed, which is an error.
package fsys

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
)

// Calls holds the system calls in which file systems differ. A nil function is the
// kernel's own; tests set others.
type Calls struct {
	// Flock is flock(2) of an open file.
	Flock func(f *os.File, how int) error
	// SyncFile and SyncDir are fsync(2).
	SyncFile, SyncDir func(f *os.File) error
	// Link is linkat(2) below root.
	Link func(root *os.Root, old, name string) error
	// RenameNew is a rename that fails with fs.ErrExist if name exists. Both names
	// are in the same folder.
	RenameNew func(root *os.Root, old, name string) error
	// Rename is renameat(2) below root.
	Rename func(root *os.Root, old, name string) error
}

// cannot reports whether err is one that a file system returns for a call that it
// does not support.
func cannot(err error, also ...error) bool {
	return errors.Is(err, errors.ErrUnsupported) || slices.ContainsFunc(also, func(e error) bool { return errors.Is(err, e) })
}

// NoLocks reports whether err, from flock, means that locks are not supported: NFS
// without a lock manager, mounts without them, many file systems in user space. A folder,
// or a file that is open for reading, cannot be locked over NFS, which is EBADF.
func NoLocks(err error) bool {
	return cannot(err, syscall.ENOLCK, syscall.EBADF, syscall.EINVAL, syscall.EACCES, syscall.EPERM)
}

// NoLinks reports whether err, from link, means that hard links are not supported:
// FAT, exFAT, many SMB shares, most file systems in user space.
func NoLinks(err error) bool {
	return cannot(err, syscall.EPERM, syscall.EACCES, syscall.EMLINK, syscall.EINVAL, syscall.EXDEV)
}

// NoFolderSync reports whether err, from fsync of a folder, means that folders cannot
// be synced: SMB and many file systems in user space. EIO, ENOSPC and all others are
// failures.
func NoFolderSync(err error) bool {
	return cannot(err, syscall.EINVAL, syscall.EACCES, syscall.EPERM, syscall.EBADF, syscall.EISDIR)
}

// noFileSync is NoFolderSync for files: an open file may refuse fsync with these
// errors only.
func noFileSync(err error) bool { return cannot(err, syscall.EINVAL) }

// NoAttributes reports whether err, from setting the mode or time of a file that this
// process has made, means that the file system does not store them or does not allow
// setting them: FAT and exFAT, SMB, NFS that maps all users to one, file systems in
// user space.
func NoAttributes(err error) bool {
	return cannot(err, syscall.EPERM, syscall.EACCES, syscall.EINVAL)
}

// again repeats a call that was interrupted by a signal and, once, a call whose file
// or folder was replaced by another machine on a network file system.
func again(call func() error) error {
	stale := false
	for {
		err := call()
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ESTALE) && !stale:
			stale = true
		default:
			return err
		}
	}
}

// Again is like again, for calls that return a value.
func Again[T any](call func() (T, error)) (v T, err error) {
	err = again(func() (err error) {
		v, err = call()
		return err
	})
	return v, err
}

// ErrLocked is returned by TryLock if another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// Lock waits for the lock on the file, which is released when the file is closed. If
// the file system has no locks, locked is false and err is nil.
func (c *Calls) Lock(f *os.File) (locked bool, err error) { return c.lock(f, syscall.LOCK_EX) }

// TryLock is like Lock, but returns ErrLocked instead of waiting.
func (c *Calls) TryLock(f *os.File) (locked bool, err error) {
	return c.lock(f, syscall.LOCK_EX|syscall.LOCK_NB)
}

// Share waits for a lock that others may have at the same time, but not beside the one of
// Lock. A lock that the file has already becomes a shared one, between which others may have
// taken it.
func (c *Calls) Share(f *os.File) (locked bool, err error) { return c.lock(f, syscall.LOCK_SH) }

func (c *Calls) lock(f *os.File, how int) (bool, error) {
	err := again(func() error {
		if c.Flock != nil {
			return c.Flock(f, how)
		}
		return syscall.Flock(int(f.Fd()), how)
	})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return false, ErrLocked
	case NoLocks(err):
		return false, nil
	}
	return false, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
}

// Sync makes the contents of a file durable. If the file system does not support
// that, synced is false: such file systems write the contents when the file is
// closed.
func (c *Calls) Sync(f *os.File) (synced bool, err error) {
	err = again(func() error {
		if c.SyncFile != nil {
			return c.SyncFile(f)
		}
		return f.Sync()
	})
	if err != nil && noFileSync(err) {
		return false, nil
	}
	return err == nil, err
}

// SyncFolder makes a change to the folder's entries durable. If folders cannot be
// synced, synced is false and err is nil.
func (c *Calls) SyncFolder(root *os.Root, dir string) (synced bool, err error) {
	err = again(func() error {
		f, err := root.Open(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		if c.SyncDir != nil {
			return c.SyncDir(f)
		}
		return f.Sync()
	})
	if err != nil && NoFolderSync(err) {
		return false, nil
	}
	return err == nil, err
}

// HardLink gives the file old another name, which must not exist. If hard links are
// not supported, linked is false and err is nil.
func (c *Calls) HardLink(root *os.Root, old, name string) (linked bool, err error) {
	err = again(func() error {
		if c.Link != nil {
			return c.Link(root, old, name)
		}
		return root.Link(old, name)
	})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrExist):
		// NFS may have made the link, and repeated the call because the answer was lost.
		a, aerr := root.Lstat(old)
		b, berr := root.Lstat(name)
		if aerr == nil && berr == nil && os.SameFile(a, b) {
			return true, nil
		}
		return false, err
	case NoLinks(err):
		return false, nil
	}
	return false, err
}

// MoveNew renames old to name, which must not exist, in the same folder. If the file
// system has no rename that checks this, moved is false and err is nil.
func (c *Calls) MoveNew(root *os.Root, old, name string) (moved bool, err error) {
	err = again(func() error {
		if c.RenameNew != nil {
			return c.RenameNew(root, old, name)
		}
		return renameNew(root, old, name)
	})
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, fs.ErrExist) && cannot(err, syscall.EINVAL):
		return false, nil
	}
	return false, err
}

// Move renames old to name, and replaces an existing file.
func (c *Calls) Move(root *os.Root, old, name string) error {
	return again(func() error {
		if c.Rename != nil {
			return c.Rename(root, old, name)
		}
		return root.Rename(old, name)
	})
}

// inFolder opens the folder of both names for a call that takes descriptors.
func inFolder(root *os.Root, old, name string, call func(dir int, old, name string) error) error {
	dir := path.Dir(name)
	if path.Dir(old) != dir {
		return &os.LinkError{Op: "rename", Old: old, New: name, Err: syscall.EXDEV}
	}
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := call(int(f.Fd()), path.Base(old), path.Base(name)); err != nil {
		return &os.LinkError{Op: "rename", Old: old, New: name, Err: err}
	}
	return nil
}
