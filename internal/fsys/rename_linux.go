package fsys

import (
	"os"

	"golang.org/x/sys/unix"
)

func renameNew(root *os.Root, old, name string) error {
	return inFolder(root, old, name, func(dir int, old, name string) error {
		return unix.Renameat2(dir, old, dir, name, unix.RENAME_NOREPLACE)
	})
}
