package fsys

import (
	"errors"
	"os"
	"time"
)

// Stale is how old what another machine is writing has to be until it is taken for a
// leftover, by the time of its last change. A laptop may sleep for a night.
const Stale = 24 * time.Hour

// A Fate is what became of a process that has made something.
type Fate int

const (
	// Unknown is of one that may run on another machine, or in another container, and
	// whose lock tells nothing.
	Unknown Fate = iota
	Alive
	Dead
)

// FateOf tells what became of the process that made the open folder f, whose name after
// its prefix begins with an Owner. What has a lock belongs to a living one; if Dead, the
// lock is the caller's until f is closed, where there are locks. One of which nothing is
// known is taken for dead when nothing has been changed in the folder for a day.
func (c *Calls) FateOf(f *os.File, name string) (Fate, error) {
	owner, named := ParseOwner(name)
	if named && owner.Known() {
		if owner.Alive() {
			return Alive, nil
		}
		return Dead, nil
	}
	locked, err := c.TryLock(f)
	if errors.Is(err, ErrLocked) {
		return Alive, nil
	}
	if err != nil {
		return Unknown, err
	}
	// A lock may hold on one machine only, and nothing says so.
	if locked && (!named || owner.Here()) {
		return Dead, nil
	}
	info, err := f.Stat()
	if err == nil && time.Since(info.ModTime()) > Stale {
		return Dead, nil
	}
	return Unknown, err
}
