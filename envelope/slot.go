package envelope

// A SlotMatcher is a [KeyWrapper] that reports whether a slot claims to belong to
// it. Matches calls no service and proves nothing: anyone who can write the keyring
// can have made the claim. All key types of this package implement SlotMatcher.
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

// Matches reports whether the slot is for a passphrase, not necessarily this one.
func (p *Passphrase) Matches(slot Slot) bool { return slot.Kind == passphraseKind }

// Matches reports whether the slot names this key pair.
func (i *Identity) Matches(slot Slot) bool { return i.recipient.Matches(slot) }

// Matches reports whether the slot names this key pair. Only the Identity opens it.
func (r *Recipient) Matches(slot Slot) bool {
	return slot.Kind == hpkeKind && slot.Key == r.fingerprint
}
