//go:build race

package envelope

// underRace makes the longest tests take samples: the race detector slows them
// ten times, and finds nothing in the thousandth flipped bit.
const underRace = true
