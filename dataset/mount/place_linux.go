//go:build !386 && !arm

package mount

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// A place is the folder that a version is mounted in. It belongs to this process until it is
// released.
type place struct {
	dir  string   // absolute, without links
	lock *os.File // the folder below the mount
	made bool     // it was not there before
}

// claim takes a folder that is empty, or makes it. A mount of ours that has lost its process
// is removed from it first.
func claim(dir string) (*place, error) {
	dir, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	if err := heal(dir); err != nil {
		return nil, err
	}
	p := &place{dir: dir}
	p.lock, err = os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(dir, 0o700); err == nil || errors.Is(err, fs.ErrExist) {
			p.made = err == nil
			p.lock, err = os.Open(dir)
		}
	}
	if errors.Is(err, unix.ENOTCONN) {
		return nil, fmt.Errorf("a file system that has lost its program, and is not this user's, is mounted in %s; unmount it first: fusermount3 -u %q, or as root: umount %q", dir, dir, dir)
	}
	if err != nil {
		return nil, err
	}
	if info, err := p.lock.Stat(); err != nil || !info.IsDir() {
		return nil, errors.Join(fmt.Errorf("%s is not a folder; name one that is empty or missing", dir), p.release())
	}
	if err := p.check(); err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

// check locks the folder, of which there are two if another process mounts there meanwhile:
// the one below the mount has its lock, and the mount is seen.
func (p *place) check() error {
	err := unix.Flock(int(p.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s: another process is about to mount there, or has locked the folder: %w", p.dir, ErrMounted)
	}
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOLCK) {
		return fmt.Errorf("locking %s: %w", p.dir, err)
	}
	top, err := mountedAt(p.dir)
	if err != nil {
		return err
	}
	if top != nil && top.kind == fsType {
		return fmt.Errorf("%s: %w (%s); choose another folder, or unmount it first: fusermount3 -u %q, or as root: umount %q", p.dir, ErrMounted, top.source, p.dir, p.dir)
	}
	switch _, err := p.lock.Readdirnames(1); {
	case err == nil:
		return fmt.Errorf("%s: %w; name one that is empty or missing", p.dir, ErrNotEmpty)
	case err != io.EOF:
		return err
	}
	return nil
}

// release gives the folder up. One that was made is removed.
func (p *place) release() error {
	err := p.lock.Close()
	if p.made {
		p.made = false
		err = errors.Join(err, os.Remove(p.dir))
	}
	return err
}

// resolve returns the absolute path of a folder, without links, by which the kernel tells of
// what is mounted there. It need not exist.
func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if info, err := os.Lstat(abs); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return filepath.EvalSymlinks(abs)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	return filepath.Join(parent, filepath.Base(abs)), err
}

// healWait is how long a mount of ours may take to show that it is alive.
const healWait = 5 * time.Second

// heal removes a mount of ours that has lost its process, as after kill -9. Any other mount
// stays.
func heal(dir string) error {
	top, err := mountedAt(dir)
	if err != nil || !top.isOurs() {
		return err
	}
	if dead, err := isDead(dir); err != nil || !dead {
		return err
	}
	// Of several processes that have seen it, one after the other comes here: the second
	// finds nothing, or what the first has mounted.
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	for end := time.Now().Add(healWait); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Flock(int(parent.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return fmt.Errorf("locking %s: %w", filepath.Dir(dir), err)
		}
	}
	if top, err = mountedAt(dir); err != nil || !top.isOurs() {
		return err
	}
	if dead, err := isDead(dir); err != nil || !dead {
		return err
	}
	if err := detach(dir, lazily); err != nil {
		return fmt.Errorf("%s has a mount that has lost its process, and it cannot be unmounted: %w", dir, err)
	}
	return nil
}

// isDead reports whether a mount has lost its process. The kernel answers much from what it
// has kept, but not how large a file system is.
func isDead(dir string) (bool, error) {
	answer := make(chan error, 1)
	go func() {
		var out unix.Statfs_t
		answer <- unix.Statfs(dir, &out)
	}()
	select {
	case err := <-answer:
		return errors.Is(err, unix.ENOTCONN), nil
	case <-time.After(healWait):
		return false, fmt.Errorf("%s: a version is mounted there by a process that does not answer; end that first", dir)
	}
}
