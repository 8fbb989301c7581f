//go:build !linux

package place

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func syncFile(fd int) error { return os.NewSyscallError("fsync", unix.Fsync(fd)) }

func ModTime(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()) }

func ChangeTime(st *unix.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }

func ChangeTimeOf(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctimespec.Unix()) }
