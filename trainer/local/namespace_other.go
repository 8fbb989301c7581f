//go:build !linux

package local

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

func newNamespace(*exec.Cmd) {}

func endWithThread(*syscall.SysProcAttr, syscall.Signal) {}

func adoptOrphans() error { return nil }

func descendants(int) []int { return nil }

func mount(string) error { return errors.ErrUnsupported }

func isMemory(*unix.Statfs_t) bool { return false }
