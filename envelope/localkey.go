package envelope

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
)

// A LocalKey is a key encryption key that its owner keeps in a file: 32 random
// bytes. It is a [KeyWrapper], prints as its fingerprint only, and is safe for
// concurrent use until it is wiped.
type LocalKey struct {
	secret *secret
	wrap   *secret // derived from secret, as is the fingerprint
	id     string
}

const (
	localKind   = "local"
	localPrefix = "vaultpack-local-key-1:"
	// wrappedSize is the Cobblestone-256 message of a data key.
	wrappedSize = cobblestone.HeaderSize + DataKeySize + cobblestone.TagSize
)

// GenerateLocalKey makes a new random key.
func GenerateLocalKey() *LocalKey { return newLocalKey(randomBytes(32)) }

func newLocalKey(secret []byte) *LocalKey {
	return &LocalKey{
		secret: newSecret(secret),
		wrap:   newSecret(expand(secret, labelLocalWrap, cobblestone.KeySize)),
		id:     hex.EncodeToString(expand(secret, labelLocalID, 16)),
	}
}

// ParseLocalKey reads what EncodeSecret writes. Empty lines and lines that
// begin with # are passed over. The error never holds any of the text.
func ParseLocalKey(text []byte) (*LocalKey, error) {
	secret, err := parseKey(text, localPrefix, 32)
	if err != nil {
		return nil, err
	}
	return newLocalKey(secret), nil
}

// EncodeSecret is the key as a line of text, to be kept in a file that only its
// owner can read.
func (k *LocalKey) EncodeSecret() []byte { return encodeKey(localPrefix, k.secret.bytes()) }

// Wipe overwrites the key. It must not be used any more.
func (k *LocalKey) Wipe() {
	k.secret.wipe()
	k.wrap.wipe()
}

// Fingerprint names the key without telling it: 16 bytes in hex.
func (k LocalKey) Fingerprint() string { return k.id }

// String tells the fingerprint and never the key.
func (k LocalKey) String() string { return "local key " + k.Fingerprint() }

// Format keeps every verb of fmt from printing the key.
func (k LocalKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, k.String()) }

// MarshalText keeps encoders from writing the key.
func (k LocalKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue keeps loggers from writing the key.
func (k LocalKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Wrap seals the data key as one Cobblestone-256 message with the canonical
// encryption context.
func (k *LocalKey) Wrap(_ context.Context, dataKey []byte, ec EncryptionContext) (Slot, error) {
	wrapped, err := cobblestone.Seal(nil, k.wrap.bytes(), ec.Canonical(), dataKey)
	if err != nil {
		return Slot{}, err
	}
	return Slot{Kind: localKind, Key: k.Fingerprint(), Wrapped: wrapped}, nil
}

// Unwrap opens what Wrap sealed.
func (k *LocalKey) Unwrap(_ context.Context, slot Slot, ec EncryptionContext) ([]byte, error) {
	if slot.Kind != localKind || slot.Key != k.Fingerprint() {
		return nil, ErrNoSlot
	}
	if len(slot.Wrapped) != wrappedSize {
		return nil, ErrAuthentication
	}
	dataKey, err := cobblestone.Open(nil, k.wrap.bytes(), ec.Canonical(), slot.Wrapped)
	return dataKey, authentication(err)
}
