package envelope

import "context"

// A ServiceKey is a [KeyWrapper] whose key does not leave a key service: each use of
// it is a call, which the service may bill, or refuse.
type ServiceKey interface {
	SlotMatcher
	// Describe is what the key's slots have for their kind and key.
	Describe() (kind, key string)
}

// A Rewrapper is a key that moves a slot of its own to another key, so that nobody
// sees the data key.
type Rewrapper interface {
	KeyWrapper
	// Rewrap makes of a slot, which is bound to the context ec, one of the key to,
	// bound to toEC. Where it knows no way to that key the error wraps
	// errors.ErrUnsupported; else it is as from Unwrap.
	Rewrap(ctx context.Context, slot Slot, ec EncryptionContext, to KeyWrapper, toEC EncryptionContext) (Slot, error)
}
