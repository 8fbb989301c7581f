package dataset

import (
	"errors"
	"fmt"
)

// A PartialError is returned by a job that continued after single files failed;
// everything else is done. It wraps the causes: errors.Is finds
// envelope.ErrAuthentication in it if any of the failures was one, however many
// other failures came before.
type PartialError struct {
	// Job is the kind of work: "restore", "verify", "upload".
	Job string
	// Count is the number of failures.
	Count int64
	// Causes holds the first failures, and the first of each class that a caller
	// may branch on: a few dozen at most.
	Causes []error
}

func (e *PartialError) Error() string {
	if len(e.Causes) == 0 {
		return fmt.Sprintf("%s: %d failures", e.Job, e.Count)
	}
	if e.Count == 1 {
		return fmt.Sprintf("%s: 1 failure: %v", e.Job, e.Causes[0])
	}
	return fmt.Sprintf("%s: %d failures, the first of them: %v", e.Job, e.Count, e.Causes[0])
}

// Unwrap returns the causes.
func (e *PartialError) Unwrap() []error { return e.Causes }

// A FileError is an error of one file, or of the pack that it lies in.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string { return fmt.Sprintf("%q: %v", e.Path, e.Err) }

func (e *FileError) Unwrap() error { return e.Err }

// ErrDiffers is reported for an entry that is authentic in the vault but
// differs in the folder that it is compared with.
var ErrDiffers = errors.New("differs")
