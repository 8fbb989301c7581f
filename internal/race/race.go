// Package race tells tests whether the race detector is on. It makes a program five
// to ten times slower, and sees nothing in other processes: tests that start the
// command hundreds of times, that are timed, or that have no concurrency are skipped
// under it, and other tests need only some of many sizes or rounds. CI also runs each
// test completely, without it.
package race

import "testing"

// Skip skips the test under the race detector.
func Skip(t testing.TB, why string) {
	if Enabled {
		t.Helper()
		t.Skip("not under the race detector: " + why)
	}
}

// Few returns all or, under the race detector, every nth element, counted from the last.
func Few[T any](n int, all []T) []T {
	if !Enabled || len(all) == 0 {
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
