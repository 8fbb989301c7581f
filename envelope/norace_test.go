//go:build !race

package envelope

const underRace = false
