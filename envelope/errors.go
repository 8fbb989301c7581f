package envelope

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrAuthentication is the one error of everything that does not
	// authenticate: a changed, cut, lengthened or reordered sealed file, a file
	// of another key, kind or object ID, a keyring whose data key or encryption
	// context is another one. It carries no detail, so that nothing can be
	// learnt from it.
	ErrAuthentication = errors.New("authentication failed: the data was changed, or the key is wrong")

	// ErrFormat is returned for bytes that are no sealed file or keyring of
	// format 1 at all. It is found before any key is used.
	ErrFormat = errors.New("not in vaultpack's format 1")

	// ErrKeyUnusable is wrapped by the error of every use of a key that is not
	// there: one that has been wiped, is nil, is a zero value, or is a copy of
	// the struct that this package has made.
	ErrKeyUnusable = errors.New("the key cannot be used")

	// ErrNoSlot is what a [KeyWrapper] returns from Unwrap for a slot that is
	// not its own. The next key is then tried.
	ErrNoSlot = errors.New("the slot belongs to a different key")

	// ErrNoKeyring is returned for a sealed file that has no keyring of its own:
	// a part of a dataset, which opens with the dataset's keyring only.
	ErrNoKeyring = errors.New("this sealed file is part of a dataset and has no keyring of its own")

	// ErrAborted is what a Writer returns after [Writer.Abort].
	ErrAborted = errors.New("the sealed file was aborted before it was complete")

	// ErrInterrupted is wrapped by the error of a stream that a panic or a
	// runtime.Goexit has passed through, or that is closed while its goroutine
	// unwinds from one: it is not known whether anything is missing.
	ErrInterrupted = errors.New("interrupted by a panic or runtime.Goexit")
)

var (
	errConcurrent = errors.New("used by two goroutines at once, or by its own source or destination")
	errNilSource  = errors.New("the source is nil")

	errNilDestination = errors.New("the destination is nil")
	errNilOption      = errors.New("an option is nil")
)

// A NoKeyError says that none of the keys at hand has a slot in the keyring.
type NoKeyError struct {
	KeyID KeyID
	Slots []Slot
	// Near are the errors of keys that say more than [ErrNoSlot]: that they would
	// open a slot if they were set up otherwise.
	Near []error
}

func (e *NoKeyError) Error() string {
	names := make([]string, len(e.Slots))
	for i, s := range e.Slots {
		names[i] = s.Kind + " " + s.Key
	}
	text := fmt.Sprintf("no configured key opens data key %s; it is wrapped for: %s", e.KeyID, strings.Join(names, ", "))
	for _, err := range e.Near {
		text += "; " + err.Error()
	}
	return text
}

// Unwrap gives Near.
func (e *NoKeyError) Unwrap() []error { return e.Near }
