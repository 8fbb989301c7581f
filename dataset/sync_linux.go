package dataset

import (
	"errors"
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
	err = syncfs(int(f.Fd()))
	if errors.Is(err, errors.ErrUnsupported) {
		unix.Sync() // some sandboxes have no syncfs; this waits too, for all file systems
		return nil
	}
	return os.NewSyscallError("syncfs", err)
}

// syncFile does nothing where there is syncFS.
func syncFile(int) error { return nil }

func modTime(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()) }

func changeTime(st *unix.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }

func changeTimeOf(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }
