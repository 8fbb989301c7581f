//go:build !linux

package dataset

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// syncFS does nothing where each file is synced by syncFile.
func syncFS(*os.Root) error { return nil }

func syncFile(fd int) error { return os.NewSyscallError("fsync", unix.Fsync(fd)) }

func modTime(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()) }

func changeTime(st *unix.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }

func changeTimeOf(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctimespec.Unix()) }
