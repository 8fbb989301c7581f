package place

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
)

// Only tests replace fchmod and utimesat.
var (
	Fchmod   = unix.Fchmod
	Utimesat = unix.UtimesNanoAt
)

// ProbeAttributes finds out whether the destination's file system keeps modes and times:
// some refuse to set them, others silently do nothing. It needs a staging folder.
func (d *Dest) ProbeAttributes() error {
	const name = ".attributes" // not a stageName
	fd, err := d.Create(name)
	if err != nil {
		return err
	}
	defer unix.Unlinkat(d.StageFD, name, 0)
	defer unix.Close(fd)
	// At least one of the two differs from what every file there has.
	for _, mode := range []uint32{0o640, 0o604} {
		var st unix.Stat_t
		err := Retry("chmod", name, func() error { return Fchmod(fd, mode) })
		switch {
		case fsys.NoAttributes(err):
			d.NoModes.Store(true)
			continue
		case err != nil:
			return err
		}
		if err := Retry("stat", name, func() error { return unix.Fstat(fd, &st) }); err != nil {
			return err
		}
		if uint32(st.Mode)&0o7777 != mode {
			d.NoModes.Store(true)
		}
	}
	then := time.Unix(1_000_000_000, 0) // any file system can represent it
	err = SetTime(d.StageFD, name, then)
	var st unix.Stat_t
	switch {
	case fsys.NoAttributes(err):
		d.NoTimes.Store(true)
		return nil
	case err != nil:
		return err
	}
	if err := Lstat(d.StageFD, name, &st); err != nil {
		return err
	}
	if !ModTime(&st).Equal(then) {
		d.NoTimes.Store(true)
	}
	return nil
}

// Chmod sets the mode of an open file or folder, if the file system keeps modes.
func (d *Dest) Chmod(fd int, name string, mode uint32) error {
	if d.NoModes.Load() {
		return nil
	}
	return Retry("chmod", name, func() error { return Fchmod(fd, mode) })
}

// setTime calls SetTime, if the file system keeps times.
func (d *Dest) setTime(dir int, name string, t time.Time) error {
	if d.NoTimes.Load() {
		return nil
	}
	return SetTime(dir, name, t)
}

// HasMode reports whether the existing file has the entry's mode, as far as the file
// system keeps modes.
func (d *Dest) HasMode(st *unix.Stat_t, e *tree.Entry) bool {
	return d.NoModes.Load() || uint32(st.Mode)&0o7777 == d.mode(e)
}
