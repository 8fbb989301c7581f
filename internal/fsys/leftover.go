package fsys

import (
	"errors"
	"os"
	"time"
)

// Stale is how old what another machine is writing has to be until it is taken for a
// leftover, by the time of its last change. A laptop may sleep for a night.
const Stale = 24 * time.Hour

// Abandoned reports whether the process that made the open folder f, whose name
// after its prefix begins with an Owner, is no more. What has a lock is not abandoned;
// if it is, the lock is the caller's until f is closed, where there are locks.
func (c *Calls) Abandoned(f *os.File, name string) (bool, error) {
	owner, named := ParseOwner(name)
	if named && owner.Known() {
		return !owner.Alive(), nil
	}
	locked, err := c.TryLock(f)
	if errors.Is(err, ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// A lock may hold on one machine only, and nothing says so.
	if locked && (!named || owner.Here()) {
		return true, nil
	}
	info, err := f.Stat()
	return err == nil && time.Since(info.ModTime()) > Stale, err
}
