package codec

// A number of a dataset is taken once and for all: by the root of a version, or by
// one of these marks. Every upload commits by creating the object of one number, so
// a number that is taken is an upload that cannot commit. No object that is sealed
// has the size of a mark.
const (
	// ClosedMark takes a number that no version will have, see dataset.Dataset.Collect.
	ClosedMark = `{"format":"vaultpack-closed/1"}` + "\n"
	// RemovedMark is what is left of a version that was removed.
	RemovedMark = `{"format":"vaultpack-removed/1"}` + "\n"
)
