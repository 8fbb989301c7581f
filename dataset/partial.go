package dataset

import (
	"errors"
	"fmt"
)

// A PartialError ends a job that continued where single files failed: all but those
// is done. It wraps what went wrong: errors.Is finds envelope.ErrAuthentication in
// it if any of the failures was one, however many there were before it.
type PartialError struct {
	// Job is what was done: "restore", "verify", "upload".
	Job string
	// Count is how many failures there were.
	Count int64
	// Causes are the first of them, and the first of each class that a caller may
	// branch on. They are some dozens at most.
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

// Unwrap gives the causes.
func (e *PartialError) Unwrap() []error { return e.Causes }

// A FileError is what went wrong with one file, or with the pack that it lies in.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string { return fmt.Sprintf("%q: %v", e.Path, e.Err) }

func (e *FileError) Unwrap() error { return e.Err }

// ErrDiffers is told for what is authentic in the vault, and another in the
// folder that it is compared with.
var ErrDiffers = errors.New("differs")
