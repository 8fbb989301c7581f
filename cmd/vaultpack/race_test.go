//go:build race

package main

import "testing"

const raceEnabled = true

// oneInFive leaves out four of five parts of a test: each takes seconds under the
// race detector. CI runs them all without it.
func oneInFive(t *testing.T, i int) {
	if i%5 > 0 {
		t.Skip("one in five with the race detector")
	}
}
