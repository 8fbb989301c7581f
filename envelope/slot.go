package envelope

// A SlotMatcher is a [KeyWrapper] that reports whether a slot claims to be its own.
// It does no work for that, asks nobody, and proves nothing: whoever can write the
// keyring can have put the claim there. All keys of this package are one.
type SlotMatcher interface {
	KeyWrapper
	Matches(slot Slot) bool
}

var (
	_ SlotMatcher = (*LocalKey)(nil)
	_ SlotMatcher = (*Passphrase)(nil)
	_ SlotMatcher = (*Identity)(nil)
	_ SlotMatcher = (*Recipient)(nil)
)

// Matches reports whether the slot names this key.
func (k *LocalKey) Matches(slot Slot) bool {
	return slot.Kind == localKind && slot.Key == k.Fingerprint()
}

// Matches reports whether the slot is for a passphrase, which may be any.
func (p *Passphrase) Matches(slot Slot) bool { return slot.Kind == passphraseKind }

// Matches reports whether the slot names this key pair.
func (i *Identity) Matches(slot Slot) bool { return i.recipient.Matches(slot) }

// Matches reports whether the slot names this key pair, whose identity opens it.
func (r *Recipient) Matches(slot Slot) bool {
	return slot.Kind == hpkeKind && slot.Key == r.fingerprint
}
