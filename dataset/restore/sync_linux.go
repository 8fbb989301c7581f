package restore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Only tests replace syncfs.
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
