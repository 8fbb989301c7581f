//go:build !linux

package local

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

func hostNamespaces(*syscall.SysProcAttr, walls) {}

func crewNamespaces(*syscall.SysProcAttr, walls) {}

func asRoot(*syscall.SysProcAttr) {}

func (h *hostSpec) wall() error { return errors.ErrUnsupported }

type network struct{}

func newNetwork() (*network, error) { return nil, errors.ErrUnsupported }

func (n *network) add(pid int) error { return errors.ErrUnsupported }

func endWithThread(*syscall.SysProcAttr, syscall.Signal) {}

func adoptOrphans() error { return nil }

func descendants(int) []int { return nil }

func isMemory(*unix.Statfs_t) bool { return false }
