package envelope

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrAuthentication is the only error for anything that does not authenticate:
	// a sealed file that was changed, truncated, extended or reordered, a file of
	// a different key, kind or object ID, or a keyring with a different data key
	// or encryption context. It carries no detail, so that an attacker learns
	// nothing from it.
	ErrAuthentication = errors.New("authentication failed: the data was changed, or the key is wrong")

	// ErrFormat is returned for bytes that are not a sealed file or keyring of
	// format 1. It is detected before any key is used.
	ErrFormat = errors.New("not in vaultpack's format 1")

	// ErrKeyUnusable is wrapped by the error of every use of an unusable key: one
	// that was wiped, is nil, is a zero value, or is a copy of the struct that
	// this package made.
	ErrKeyUnusable = errors.New("the key cannot be used")

	// ErrNoSlot is returned by the Unwrap method of a [KeyWrapper] for a slot of
	// another key. The next key is then tried.
	ErrNoSlot = errors.New("the slot belongs to a different key")

	// ErrNoKeyring is returned for a sealed file that has no keyring of its own:
	// part of a dataset, which only the dataset's keyring opens.
	ErrNoKeyring = errors.New("this sealed file is part of a dataset and has no keyring of its own")

	// ErrAborted is returned by a Writer after [Writer.Abort].
	ErrAborted = errors.New("the sealed file was aborted before it was complete")

	// ErrInterrupted is wrapped by the error of a stream that a panic or
	// runtime.Goexit has passed through, or that is closed while its goroutine
	// unwinds from one. Whether anything is missing is unknown.
	ErrInterrupted = errors.New("interrupted by a panic or runtime.Goexit")
)

var (
	errConcurrent = errors.New("used by two goroutines at once, or by its own source or destination")
	errNilSource  = errors.New("the source is nil")

	errNilDestination = errors.New("the destination is nil")
	errNilOption      = errors.New("an option is nil")
)

// A NoKeyError reports that none of the given keys has a slot in the keyring.
type NoKeyError struct {
	KeyID KeyID
	Slots []Slot
	// Near holds the errors that say more than [ErrNoSlot]: that a key would open
	// a slot if it were configured differently.
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

// Unwrap returns Near.
func (e *NoKeyError) Unwrap() []error { return e.Near }
