//go:build !unix

package main

// fromTerminal reports whether what is typed on the terminal, such as Ctrl-C, comes to this
// process, and so to the commands that it has started.
func fromTerminal() bool { return true }
