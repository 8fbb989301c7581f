package dataset

// SetMaxHeld bounds how many entries of an index an Unpack keeps.
func SetMaxHeld(n int64) (reset func()) {
	old := maxHeld
	maxHeld = n
	return func() { maxHeld = old }
}

// SetPartEntries bounds how many entries a part of an index has.
func SetPartEntries(n int) (reset func()) {
	old := partEntries
	partEntries = n
	return func() { partEntries = old }
}
