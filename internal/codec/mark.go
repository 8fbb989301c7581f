package codec

// Each number of a dataset is taken once and never freed: by the root of a version, or by
// one of these marks. Every upload commits by creating the object of one number, so an
// upload whose number is taken cannot commit. No sealed object has the size of a mark.
const (
	// ClosedMark takes a number that no version will have: see dataset.Dataset.Collect.
	ClosedMark = `{"format":"vaultpack-closed/1"}` + "\n"
	// RemovedMark replaces a version that was removed.
	RemovedMark = `{"format":"vaultpack-removed/1"}` + "\n"
)

// EndedMark is what a plan's folder has once nothing continues from the plan: it was made
// into a version, or given up.
const EndedMark = `{"format":"vaultpack-ended/1"}` + "\n"
