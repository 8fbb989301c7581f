// Package race tells tests of the race detector. It slows a program five to ten
// times, and sees nothing in another process: what starts the command hundreds of
// times, what is timed, and what looks for races nowhere is left out under it, and of
// many sizes or rounds of what it does look at, some are enough. CI runs each test
// without it, too, and then all of it.
package race

import "testing"

// Skip leaves the test out under the race detector.
func Skip(t testing.TB, why string) {
	if Enabled {
		t.Helper()
		t.Skip("not under the race detector: " + why)
	}
}

// Few returns all, and under the race detector every nth of it, counted from the last.
func Few[T any](n int, all []T) []T {
	if !Enabled {
		return all
	}
	var few []T
	for i := (len(all) - 1) % n; i < len(all); i += n {
		few = append(few, all[i])
	}
	return few
}

// Rounds returns all, and under the race detector few.
func Rounds(all, few int) int {
	if Enabled {
		return few
	}
	return all
}
