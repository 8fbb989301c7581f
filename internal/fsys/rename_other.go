//go:build !linux && !darwin

package fsys

import (
	"os"
	"syscall"
)

func renameNew(*os.Root, string, string) error { return syscall.ENOSYS }
