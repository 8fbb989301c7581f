package place

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// syncFile does nothing if the whole file system is synced at once.
func syncFile(int) error { return nil }

func ModTime(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()) }

func ChangeTime(st *unix.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }

func ChangeTimeOf(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }
