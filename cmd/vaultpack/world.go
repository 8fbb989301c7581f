package main

import (
	"os"
	"time"

	"github.com/vaultpack/vaultpack/vault"
)

// A world is everything that the program gets from outside. Tests provide their own.
type world struct {
	name                  string // how the program was called
	stdin, stdout, stderr *os.File
	// store wraps the store of a vault that is opened for writing; nil leaves the store
	// unchanged.
	store func(vault.Store) vault.Store
	// every is the interval at which a job is polled; 0 leaves it to package trainer.
	every time.Duration
}

// process returns the world of the current process.
func process() world {
	return world{name: os.Args[0], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
}
