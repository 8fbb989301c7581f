// Package leaktest fails the tests of a package that leave goroutines behind. Every
// package with tests has
//
//	func TestMain(m *testing.M) { leaktest.Main(m) }
package leaktest

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of a package, checks for leaked goroutines, and exits.
func Main(m *testing.M) { os.Exit(Checked{m}.Run()) }

// Checked is for a TestMain that does more than Main does.
type Checked struct{ M *testing.M }

// Run runs the tests, and fails if goroutines are left that do not end shortly by
// themselves.
func (c Checked) Run() int {
	defer forgetful()()
	code := c.M.Run()
	if code != 0 || fuzzing() {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintf(os.Stderr, "FAIL: the tests have left goroutines: %v\n", err)
		return 1
	}
	return 0
}

// forgetful keeps tests from remembering datasets in the home directory of whoever runs them.
func forgetful() (undo func()) {
	dir, err := os.MkdirTemp("", "vaultpack-state-")
	if err != nil {
		return func() {}
	}
	os.Setenv("XDG_STATE_HOME", dir)
	return func() { os.RemoveAll(dir) }
}

// fuzzing reports whether package testing runs goroutines of its own.
func fuzzing() bool {
	for _, name := range []string{"test.fuzz", "test.fuzzworker"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != f.DefValue {
			return true
		}
	}
	return false
}
