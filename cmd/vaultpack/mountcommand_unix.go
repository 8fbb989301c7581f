//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// fromTerminal reports whether this process, and so the commands that it has started,
// receives signals from the terminal, such as that of Ctrl-C.
func fromTerminal() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
