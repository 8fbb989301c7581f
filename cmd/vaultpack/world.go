package main

import (
	"os"
	"time"

	"github.com/vaultpack/vaultpack/vault"
)

// A world is what the program is given from outside. Tests give it another.
type world struct {
	name                  string // how it was called
	stdin, stdout, stderr *os.File
	// store wraps the store of a vault that is opened for writing; nil leaves it as it is.
	store func(vault.Store) vault.Store
	// every is how often a job is looked at; 0 leaves that to package trainer.
	every time.Duration
}

// process is the world of this process.
func process() world {
	return world{name: os.Args[0], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
}
