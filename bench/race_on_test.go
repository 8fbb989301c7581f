//go:build race

package bench

// Under the race detector sync.Pool drops a part of what it is given, so that
// allocations say nothing.
const raceDetector = true
