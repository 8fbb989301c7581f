package dataset

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
)

// fchmod and utimesat are replaced by tests only.
var (
	fchmod   = unix.Fchmod
	utimesat = unix.UtimesNanoAt
)

// probeAttributes finds out whether the destination's file system keeps modes and times:
// some refuse to set them, others only seem to. It has to have a staging folder.
func (r *Restore) probeAttributes() error {
	const name = ".attributes" // no stageName
	fd, err := r.create(name)
	if err != nil {
		return err
	}
	defer unix.Unlinkat(r.stageFD, name, 0)
	defer unix.Close(fd)
	// One of the two is not what all files there have.
	for _, mode := range []uint32{0o640, 0o604} {
		var st unix.Stat_t
		err := retry("chmod", name, func() error { return fchmod(fd, mode) })
		switch {
		case fsys.NoAttributes(err):
			r.NoModes.Store(true)
			continue
		case err != nil:
			return err
		}
		if err := retry("stat", name, func() error { return unix.Fstat(fd, &st) }); err != nil {
			return err
		}
		if uint32(st.Mode)&0o7777 != mode {
			r.NoModes.Store(true)
		}
	}
	then := time.Unix(1_000_000_000, 0) // any file system can hold it
	err = setTime(r.stageFD, name, then)
	var st unix.Stat_t
	switch {
	case fsys.NoAttributes(err):
		r.NoTimes.Store(true)
		return nil
	case err != nil:
		return err
	}
	if err := lstat(r.stageFD, name, &st); err != nil {
		return err
	}
	if !modTime(&st).Equal(then) {
		r.NoTimes.Store(true)
	}
	return nil
}

// chmod sets the mode of an open file or folder, where there are modes.
func (r *Restore) chmod(fd int, name string, mode uint32) error {
	if r.NoModes.Load() {
		return nil
	}
	return retry("chmod", name, func() error { return fchmod(fd, mode) })
}

// setTime is setTime, where there are times.
func (r *Restore) setTime(dir int, name string, t time.Time) error {
	if r.NoTimes.Load() {
		return nil
	}
	return setTime(dir, name, t)
}

// hasMode reports whether what is there has the mode of the entry, as far as the file
// system keeps modes.
func (r *Restore) hasMode(st *unix.Stat_t, e *tree.Entry) bool {
	return r.NoModes.Load() || uint32(st.Mode)&0o7777 == r.mode(e)
}
