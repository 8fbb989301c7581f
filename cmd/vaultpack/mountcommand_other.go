//go:build !unix

package main

// fromTerminal reports whether this process, and so the commands that it has started,
// receives signals from the terminal, such as that of Ctrl-C.
func fromTerminal() bool { return true }
