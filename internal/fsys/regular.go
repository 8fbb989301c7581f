package fsys

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// OpenRegular opens a regular file below root for reading, and rejects anything else:
// opening a named pipe would block. Links that stay below root are followed, unless flags
// has syscall.O_NOFOLLOW.
func OpenRegular(root *os.Root, name string, flags int) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|flags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
