//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// fromTerminal reports whether what is typed on the terminal, such as Ctrl-C, comes to this
// process, and so to the commands that it has started.
func fromTerminal() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
