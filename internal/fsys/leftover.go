package fsys

import (
	"errors"
	"os"
	"time"
)

// Stale is the age, by the time of the last change, from which a file that another
// machine is writing counts as a leftover. A laptop may sleep for a night.
const Stale = 24 * time.Hour

// A Fate says whether the process that made a file or folder still runs.
type Fate int

const (
	// Unknown is the fate of a process that may run on another machine, or in another
	// container, and whose lock shows nothing.
	Unknown Fate = iota
	Alive
	Dead
)

// FateOf returns the fate of the process that made the open folder f, whose name after
// its prefix begins with an Owner. A locked folder belongs to a running process. If the
// result is Dead, the caller holds the lock until f is closed, if there are locks. A
// process of which nothing is known counts as dead if the folder has not changed for a day.
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
	// A lock may be valid on one machine only, and nothing shows that.
	if locked && (!named || owner.Here()) {
		return Dead, nil
	}
	info, err := f.Stat()
	if err == nil && time.Since(info.ModTime()) > Stale {
		return Dead, nil
	}
	return Unknown, err
}
