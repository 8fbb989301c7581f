package atomicfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// A claim is the right to give a name to a file, held by one writer at a time. It is
// a file created exclusively, which every file system supports, and holds the name of
// the temporary file that its writer has ready.
//
// A writer that dies leaves its claim behind. Whoever finds it breaks it: at once if
// that process is known to be dead, and after staleClaim if it runs on another
// machine. A live writer that was only suspended then does no harm, because its
// temporary file is removed before its claim: its rename finds nothing, and fails. If
// several writers find a claim stale, only one breaks it: the one that creates the
// marker file next to it.
type claim struct {
	d    *Folder
	file string
	text []byte
	lock *os.File
}

const (
	claimPrefix = "claim-"
	breakPrefix = "break-"
	// staleClaim is the longest time that an unknown writer holds a claim; it is held
	// while one file is read and another renamed.
	staleClaim = 2 * time.Minute
	// claimPatience is how long to wait for a live writer.
	claimPatience = 5 * time.Minute
	maxClaim      = 4 << 10
)

var staleAfter, patience = staleClaim, claimPatience // variables for the tests only

func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:10])
}

// claim waits until this writer may give the name, and tmp may get it. wanted reports
// whether to continue waiting.
func (d *Folder) claim(ctx context.Context, name, tmp string, wanted func() error) (*claim, error) {
	c := &claim{d: d, file: path.Join(path.Dir(name), d.Prefix+claimPrefix+short(path.Base(name))),
		text: []byte(path.Base(tmp) + "\n" + path.Base(name) + "\n")}
	began, seen, since := time.Now(), []byte(nil), time.Now()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := c.take()
		if !errors.Is(err, fs.ErrExist) {
			return c, err
		}
		if err := wanted(); err != nil {
			return nil, err
		}
		text, err := d.read(c.file, maxClaim)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if !bytes.Equal(text, seen) {
			seen, since = text, time.Now()
		}
		if err == nil {
			stale := func() bool { return time.Since(since) > staleAfter || d.olderThan(c.file, staleAfter) }
			if broken, err := d.breakClaim(c.file, stale); err != nil {
				return nil, err
			} else if broken {
				continue
			}
		}
		if time.Since(began) > patience {
			return nil, fmt.Errorf("%s: another vaultpack has been at work on it for %v; if none is, remove %s and run the same command again",
				name, patience, c.file)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// take creates the claim's file, or returns an error that wraps fs.ErrExist.
func (c *claim) take() error {
	f, err := c.d.Root.OpenFile(c.file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	// The lock comes before the text: whoever reads the text and gets the lock knows that
	// the writer is dead.
	if _, err = c.d.Calls.Lock(f); err == nil {
		_, err = f.Write(c.text)
	}
	c.lock = f
	if err != nil {
		c.lock.Close()
		c.d.Root.Remove(c.file)
		return err
	}
	if err := c.held(); err != nil {
		c.lock.Close()
		return &fs.PathError{Op: "claim", Path: c.file, Err: fs.ErrExist}
	}
	return nil
}

// held returns an error unless the claim is still this writer's.
func (c *claim) held() error {
	text, err := c.d.read(c.file, maxClaim)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(text, c.text) {
		return errFenced
	}
	return err
}

func (c *claim) release() {
	if c.held() == nil {
		c.d.Root.Remove(c.file)
	}
	c.lock.Close()
}

// breakClaim removes the claim of a dead writer, and the file that it had ready first.
// stale reports whether an unknown writer must be dead.
func (d *Folder) breakClaim(file string, stale func() bool) (broken bool, err error) {
	text, err := d.read(file, maxClaim)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	base, _, whole := strings.Cut(string(text), "\n")
	whole = whole && strings.HasPrefix(base, d.Prefix) && !strings.ContainsRune(base, '/')
	if dead, err := d.dead(file, base, stale); err != nil || !dead {
		return false, err
	}
	breaker := path.Join(path.Dir(file), d.Prefix+breakPrefix+short(file+"\n"+string(text)))
	f, err := d.Root.OpenFile(breaker, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		// Someone else is breaking it, unless they have since died.
		if d.olderThan(breaker, staleAfter) {
			d.Root.Remove(breaker)
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f.Close()
	defer d.Root.Remove(breaker)
	if whole {
		if err := d.Root.Remove(path.Join(path.Dir(file), base)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	// In the meantime another process may have broken it, and a third may have claimed the
	// name.
	if now, err := d.read(file, maxClaim); err != nil || !bytes.Equal(now, text) {
		return true, nil
	}
	if err := d.Root.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, nil
}

// olderThan compares a file's time with the file system's own clock.
func (d *Folder) olderThan(file string, age time.Duration) bool {
	info, err := d.Root.Lstat(file)
	if err != nil {
		return false
	}
	now, err := d.Now(path.Dir(file))
	return err == nil && now.Sub(info.ModTime()) > age
}

// Now returns the time by the clock of the file system, which may be another machine's,
// as the time of a new file in the folder.
func (d *Folder) Now(dir string) (time.Time, error) {
	name := d.tempName(path.Join(dir, "now"))
	f, err := d.Root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return time.Time{}, err
	}
	defer d.Root.Remove(name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// dead reports whether the writer of a file, which the file's name identifies, has ended.
// It calls stale only if nothing is known.
func (d *Folder) dead(file, writer string, stale func() bool) (bool, error) {
	owner, named := fsys.ParseOwner(strings.TrimPrefix(writer, d.Prefix))
	if named && owner.Known() {
		return !owner.Alive(), nil
	}
	locked, err := d.locks(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, fsys.ErrLocked):
		return false, nil
	case err != nil:
		return false, err
	case named && owner.Here() && locked:
		return true, nil // all containers of a machine share these locks
	}
	return stale(), nil
}

// locks tries the lock on a file, and releases it.
func (d *Folder) locks(file string) (locked bool, err error) {
	// Over NFS, only a file that is open for writing can be locked.
	f, err := d.Root.OpenFile(file, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrPermission) {
		f, err = d.Root.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	return d.Calls.TryLock(f)
}
