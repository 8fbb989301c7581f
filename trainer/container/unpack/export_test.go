package unpack

// SetMaxHeld bounds how many entries of an index a Job keeps.
func SetMaxHeld(n int64) (reset func()) {
	old := maxHeld
	maxHeld = n
	return func() { maxHeld = old }
}
