package dataset

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// syncfs is replaced by tests only.
var syncfs = unix.Syncfs

// syncFS waits until everything written to the file system of root is on disk:
// one call for thousands of files.
func syncFS(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("syncfs", syncfs(int(f.Fd())))
}

// syncFile does nothing where there is syncFS.
func syncFile(int) error { return nil }

func modTime(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()) }

func changeTime(st *unix.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }

func changeTimeOf(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }
