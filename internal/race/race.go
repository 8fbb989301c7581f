// Package race tells tests of the race detector. It slows a program five to ten
// times, and sees nothing in another process: what starts the command hundreds of
// times, what is timed, and what looks for races nowhere is left out under it. CI runs
// each test that is left out without it.
package race

import "testing"

// Skip leaves the test out under the race detector.
func Skip(t testing.TB, why string) {
	if Enabled {
		t.Helper()
		t.Skip("not under the race detector: " + why)
	}
}
