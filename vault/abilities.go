package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// Abilities describe what the file system of a vault in a directory can do. They
// are determined by testing it.
type Abilities struct {
	// Exclusive reports whether a file can be created exclusively: of two processes
	// that create it, one gets an error. Without it, two processes must not write to
	// a vault at the same time.
	Exclusive bool
	// Links and RenameNew report which ways exist to give a file an unused name
	// atomically.
	Links, RenameNew bool
	// Locks reports whether a lock excludes another open file. Whether locks reach
	// other machines cannot be tested.
	Locks bool
	// FileSync and FolderSync report whether contents and names can be made durable.
	FileSync, FolderSync bool
	// Case reports whether names that differ only in case are distinct.
	Case bool
	// Coarse is the difference between a time that is set and the time that is read
	// back. Ahead is how far the file system's clock is ahead of this machine's.
	Coarse, Ahead time.Duration
}

// A Weakness is something that a file system cannot do.
type Weakness struct {
	// What names the missing ability, with one of the constants below. Says states
	// the consequences, and Fix what to do.
	What, Says, Fix string
	// Unsafe reports whether two concurrent writers may fail to notice each other.
	Unsafe bool
}

// Names of abilities that a file system may lack.
const (
	NoExclusion  = "exclusive creation"
	NoLinks      = "hard links"
	NoLocks      = "file locks"
	NoFolderSync = "folder sync"
	CoarseTimes  = "file times"
	NoCase       = "letter case"
)

const localDisk = "nothing to do; if it matters, put the vault on a local disk"

// Weaknesses returns what the file system lacks: nothing for most disks of Linux and
// macOS.
func (a Abilities) Weaknesses() []Weakness {
	var all []Weakness
	add := func(what, fix, says string, args ...any) {
		all = append(all, Weakness{What: what, Says: fmt.Sprintf(says, args...), Fix: fix, Unsafe: what == NoExclusion})
	}
	if !a.Exclusive {
		add(NoExclusion, "put the vault on another file system, or make sure that only one upload runs at a time",
			"two processes can both create the same file: of two uploads at once, one could undo the other")
	}
	if !a.Links && a.RenameNew {
		add(NoLinks, localDisk, "there are no hard links here: versions are committed by a rename that replaces nothing")
	} else if !a.Links {
		add(NoLinks, localDisk, "there are no hard links here, and no rename that replaces nothing: versions are committed by a look and a rename, "+
			"and other writers are kept out by a file beside it; one that was killed in that instant on another machine holds up the next for two minutes")
	}
	if !a.Locks {
		add(NoLocks, localDisk, "locks are not supported here: what a writer that was killed on another machine has left is removed when it is 24 hours old, not at once")
	}
	if !a.FolderSync || !a.FileSync {
		what := "folders"
		if !a.FileSync {
			what = "files"
		}
		add(NoFolderSync, "run vaultpack verify after a power failure, or put the vault on a local disk",
			"%s cannot be synced here: the last objects may be lost in a power failure, even after a push has succeeded", what)
	}
	switch {
	case a.Ahead.Abs() > time.Minute:
		add(CoarseTimes, "set the clocks by NTP, here and on the server", "the file system's clock differs from this machine's by %v: vaultpack gc uses it to tell the age of unfinished uploads",
			a.Ahead.Abs().Round(time.Second))
	case a.Coarse > 10*time.Millisecond:
		add(CoarseTimes, "nothing to do for a vault; do not upload folders that are on this file system",
			"times are kept to %v only; nothing in a vault depends on them", a.Coarse.Round(100*time.Millisecond))
	}
	if !a.Case {
		add(NoCase, "give datasets names that differ in more than letter case", "names that differ only in letter case are the same: datasets Scans and scans cannot both exist here")
	}
	return all
}

// Abilities implements Prober.
func (d *dirStore) Abilities(ctx context.Context) (a Abilities, err error) {
	name := tmpPrefix + fsys.Self().String() + "-probe"
	names := map[string]string{}
	for _, kind := range []string{"", "-link", "-new", "-CASE", "-case"} {
		names[kind] = name + kind
		d.root.Remove(names[kind])
		defer d.root.Remove(names[kind])
	}
	create := func(kind string) (*os.File, error) {
		return d.root.OpenFile(names[kind], os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	}
	f, err := create("")
	if err != nil {
		return a, err
	}
	defer f.Close()
	if second, err := create(""); err == nil {
		second.Close()
	} else if a.Exclusive = errors.Is(err, fs.ErrExist); !a.Exclusive {
		return a, err
	}
	calls := &d.files.Calls
	if a.Links, err = calls.HardLink(d.root, names[""], names["-link"]); err != nil {
		return a, err
	}
	if a.FileSync, err = calls.Sync(f); err != nil {
		return a, err
	}
	if a.FolderSync, err = calls.SyncFolder(d.root, "."); err != nil {
		return a, err
	}
	if a.Locks, err = d.haveLocks(f, names[""]); err != nil {
		return a, err
	}
	if err := d.probeTimes(&a, names[""]); err != nil {
		return a, err
	}
	lower, err := create("-case")
	if err != nil {
		return a, err
	}
	lower.Close()
	_, err = d.root.Lstat(names["-CASE"])
	a.Case = errors.Is(err, fs.ErrNotExist)
	a.RenameNew, err = calls.MoveNew(d.root, names["-case"], names["-new"])
	return a, errors.Join(err, ctx.Err())
}

// haveLocks reports whether a lock on the file excludes a second one.
func (d *dirStore) haveLocks(f *os.File, name string) (bool, error) {
	calls := &d.files.Calls
	if locked, err := calls.TryLock(f); err != nil || !locked {
		return false, err
	}
	other, err := d.root.OpenFile(name, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer other.Close()
	_, err = calls.TryLock(other)
	if errors.Is(err, fsys.ErrLocked) {
		return true, nil
	}
	return false, err
}

// probeTimes reads the clock of the file system, and sets a time that few can represent.
func (d *dirStore) probeTimes(a *Abilities, name string) error {
	before := time.Now()
	now, err := d.files.Now(".")
	if err != nil {
		return err
	}
	a.Ahead = now.Sub(before)
	odd := time.Date(2001, 2, 3, 4, 5, 7, 987654321, time.UTC)
	if d.root.Chtimes(name, odd, odd) != nil {
		return nil // it sets its own times, which are enough here
	}
	info, err := d.root.Lstat(name)
	if err == nil {
		a.Coarse = odd.Sub(info.ModTime()).Abs()
	}
	return err
}
