package envelope

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"

	"github.com/vaultpack/vaultpack/envelope/internal/hkdf512"
)

// Labels of vaultpack's own HKDF-Expand calls, all distinct and none a prefix
// of another, so that no derived key ever serves two ends.
const (
	labelObjectKey  = "vaultpack/v1 object key\x00"
	labelCommitment = "vaultpack/v1 data key commitment\x00"
	labelSegment    = "vaultpack/v1 segment\x00" // a Cobblestone context, not an HKDF info
	labelLocalWrap  = "vaultpack/v1 local wrap"
	labelLocalID    = "vaultpack/v1 local key ID"
	labelLocalSign  = "vaultpack/v1 local signing key"

	labelPassphraseWrap = "vaultpack/v1 passphrase wrap"
	labelHPKEWrap       = "vaultpack/v1 hpke wrap\x00"   // the start of an HPKE info
	labelHPKEID         = "vaultpack/v1 hpke key ID\x00" // the start of what SHA-512 hashes
)

// A DataKey seals and opens sealed files. [NewKeyring] and [Keyring.Unwrap]
// return one. It prints only its ID, and is safe for concurrent use until it is
// wiped. A DataKey must not be copied; copies are refused.
type DataKey struct {
	_      noCopy
	self   *DataKey
	id     KeyID
	secret *secret
}

// makeDataKey takes secret over.
func makeDataKey(id KeyID, secret []byte) *DataKey {
	k := &DataKey{id: id, secret: newSecret(secret)}
	k.self = k
	return k
}

func (k *DataKey) usable() error {
	if k == nil {
		return usable("data key", k, nil)
	}
	return usable("data key", k, k.self)
}

// ID returns the key's name in headers and keyrings.
func (k *DataKey) ID() (id KeyID) {
	if k != nil {
		id = k.id
	}
	return id
}

// Wipe overwrites the key, after calls in progress have taken what they need
// of it. Existing Writers and Readers continue; every later use returns an
// error that wraps [ErrKeyUnusable].
func (k *DataKey) Wipe() {
	if k != nil && k.secret != nil {
		k.secret.wipe()
	}
}

// String returns the ID, never the key.
func (k *DataKey) String() string { return "data key " + k.ID().String() }

// Format keeps every verb of fmt from printing the key.
func (k *DataKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, k.String()) }

// MarshalText keeps encoders from writing the key.
func (k *DataKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue keeps loggers from writing the key.
func (k *DataKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// expand is HKDF-Expand with SHA-512 (RFC 5869, SP 800-108 feedback mode). The
// input is a uniformly random key, so there is no Extract step.
func expand(key []byte, info string, n int) []byte {
	out := make([]byte, n)
	expandInto(out, key, []byte(info))
	return out
}

// expandInto is expand to dst, which it fills.
func expandInto(dst, key, info []byte) {
	if err := hkdf512.Expand(dst, key, info); err != nil {
		// Only a length over 255 hashes or a short key in FIPS mode gets here.
		panic("envelope: " + err.Error())
	}
}

// objectKey derives the key of one sealed file. It depends on all of the
// header but the keyring, so a changed header fails the first commitment.
func (k *DataKey) objectKey(h Header) (*secret, error) {
	var room [len(labelObjectKey) + boundSize]byte
	info := h.appendBound(append(room[:0], labelObjectKey...))
	s := newSecretKey()
	return s, k.derive(s.p.b, info)
}

// derive fills dst from the key, or says why it cannot be used.
func (k *DataKey) derive(dst, info []byte) error {
	if err := k.usable(); err != nil {
		return err
	}
	secret, err := k.secret.acquire()
	if err != nil {
		return fmt.Errorf("%v: %w", k, err)
	}
	defer k.secret.release()
	expandInto(dst, secret, info)
	return nil
}

// Commitment returns the commitment to the key that its keyring holds. It distinguishes
// the key from every other key, and reveals nothing about it.
func (k *DataKey) Commitment() (c [32]byte, err error) {
	if err := k.usable(); err != nil {
		return c, err
	}
	secret, err := k.secret.acquire()
	if err != nil {
		return c, fmt.Errorf("%v: %w", k, err)
	}
	defer k.secret.release()
	return [32]byte(commitment(k.id, secret)), nil
}

// commitment binds a keyring to one data key. Without it a wrapped key kept
// apart from the data could be swapped for another (GHSA-3g75-q268-r9r6).
func commitment(id KeyID, secret []byte) []byte {
	return expand(secret, labelCommitment+string(id[:]), 32)
}

// newDataKey checks secret against the commitment of its keyring. It copies and
// then overwrites it: who has made it may have kept it, and wipe it later.
func newDataKey(id KeyID, secret, want []byte) (*DataKey, error) {
	own := bytes.Clone(secret)
	clear(secret)
	if checkDataKey(own) != nil || subtle.ConstantTimeCompare(commitment(id, own), want) != 1 {
		clear(own)
		return nil, ErrAuthentication
	}
	return makeDataKey(id, own), nil
}

// checkDataKey refuses what is no key. Zeros are one that was overwritten before
// its time: chance makes none.
func checkDataKey(secret []byte) error {
	if len(secret) != DataKeySize {
		return fmt.Errorf("a data key of %d bytes, want %d", len(secret), DataKeySize)
	}
	if subtle.ConstantTimeCompare(secret, make([]byte, DataKeySize)) == 1 {
		return errors.New("a data key of zeros, which was overwritten")
	}
	return nil
}
