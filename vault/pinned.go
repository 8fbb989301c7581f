package vault

import "errors"

// A Pinned names an exact state of an object that others may replace: an object of a bucket
// from which data is uploaded.
type Pinned struct {
	Object
	// ETag distinguishes this state from all others of the object.
	ETag string
	// Version is the ID of the object's version, or empty if the bucket keeps none or they
	// were not listed.
	Version string
	// Class is the storage class, or empty.
	Class string
}

// ErrReplaced means that an object is no longer in the state in which it was pinned.
var ErrReplaced = errors.New("the object was replaced")
