package dataset

// SetMaxHeld bounds how many entries of an index an Unpack keeps.
func SetMaxHeld(n int64) (reset func()) {
	old := maxHeld
	maxHeld = n
	return func() { maxHeld = old }
}
