package envelope

import "context"

// A ServiceKey is a [KeyWrapper] whose key never leaves a key service: each use is a
// call that the service may bill or refuse.
type ServiceKey interface {
	SlotMatcher
	// Describe returns the Kind and Key of the key's slots.
	Describe() (kind, key string)
}

// A Rewrapper is a key that can move its own slots to another key without
// revealing the data key.
type Rewrapper interface {
	KeyWrapper
	// Rewrap converts a slot that is bound to the context ec into a slot of the
	// key to, bound to toEC. If it cannot convert slots to that key, the error
	// wraps errors.ErrUnsupported. The other errors are those of Unwrap.
	Rewrap(ctx context.Context, slot Slot, ec EncryptionContext, to KeyWrapper, toEC EncryptionContext) (Slot, error)
}
