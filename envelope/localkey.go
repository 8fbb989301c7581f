package envelope

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
	"github.com/vaultpack/vaultpack/internal/keytext"
)

// A LocalKey is a key encryption key that its owner keeps in a file: 32 random
// bytes. It is a [KeyWrapper], prints only its fingerprint, and is safe for
// concurrent use until it is wiped. A LocalKey must not be copied; copies are
// refused.
type LocalKey struct {
	_      noCopy
	self   *LocalKey
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

// GenerateLocalKey returns a new random key.
func GenerateLocalKey() *LocalKey { return newLocalKey(randomBytes(32)) }

func newLocalKey(secret []byte) *LocalKey {
	k := &LocalKey{
		secret: newSecret(secret),
		wrap:   newSecret(expand(secret, labelLocalWrap, cobblestone.KeySize)),
		id:     hex.EncodeToString(expand(secret, labelLocalID, 16)),
	}
	k.self = k
	return k
}

func (k *LocalKey) usable() error {
	if k == nil {
		return usable("local key", k, nil)
	}
	return usable("local key", k, k.self)
}

// ParseLocalKey parses the result of LocalKey.EncodeSecret. Empty lines and
// lines that begin with # are skipped. The error never holds any of the text.
func ParseLocalKey(text []byte) (*LocalKey, error) {
	secret, err := keytext.Parse(text, localPrefix, 32)
	if err != nil {
		return nil, err
	}
	return newLocalKey(secret), nil
}

// EncodeSecret returns the key as a line of text. Keep it in a file that only
// its owner can read. The result is nil if the key was wiped or is a copy.
func (k *LocalKey) EncodeSecret() []byte {
	if k.usable() != nil {
		return nil
	}
	return encodeSecret(localPrefix, k.secret)
}

// Wipe overwrites the key. Every later use returns an error that wraps
// [ErrKeyUnusable].
func (k *LocalKey) Wipe() {
	if k != nil && k.secret != nil {
		k.secret.wipe()
		k.wrap.wipe()
	}
}

// Fingerprint returns a name of the key that does not reveal it: 16 bytes in hex.
func (k *LocalKey) Fingerprint() string {
	if k == nil {
		return ""
	}
	return k.id
}

// String returns the fingerprint, never the key.
func (k *LocalKey) String() string { return "local key " + k.Fingerprint() }

// Format keeps every verb of fmt from printing the key.
func (k *LocalKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, k.String()) }

// MarshalText keeps encoders from writing the key.
func (k *LocalKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue keeps loggers from writing the key.
func (k *LocalKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// SigningSeed derives the 32-byte seed of an Ed25519 key (RFC 8032), so that the owner
// of a local key needs no second file to sign versions. The seed reveals nothing about
// the keys that wrap data keys. The caller owns the seed and overwrites it after use.
func (k *LocalKey) SigningSeed() ([]byte, error) {
	if err := k.usable(); err != nil {
		return nil, err
	}
	key, err := k.secret.acquire()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", k, err)
	}
	defer k.secret.release()
	return expand(key, labelLocalSign, 32), nil
}

// wrapKey is the key that wraps, which the caller releases.
func (k *LocalKey) wrapKey(ctx context.Context) ([]byte, error) {
	if err := begin(ctx); err != nil {
		return nil, err
	}
	if err := k.usable(); err != nil {
		return nil, err
	}
	key, err := k.wrap.acquire()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", k, err)
	}
	return key, nil
}

// Wrap seals the data key as one Cobblestone-256 message with the canonical
// encryption context.
func (k *LocalKey) Wrap(ctx context.Context, dataKey []byte, ec EncryptionContext) (Slot, error) {
	key, err := k.wrapKey(ctx)
	if err != nil {
		return Slot{}, err
	}
	defer k.wrap.release()
	wrapped, err := cobblestone.Seal(nil, key, ec.Canonical(), dataKey)
	if err != nil {
		return Slot{}, err
	}
	return Slot{Kind: localKind, Key: k.Fingerprint(), Wrapped: wrapped}, nil
}

// Unwrap opens what Wrap sealed.
func (k *LocalKey) Unwrap(ctx context.Context, slot Slot, ec EncryptionContext) ([]byte, error) {
	key, err := k.wrapKey(ctx)
	if err != nil {
		return nil, err
	}
	defer k.wrap.release()
	if slot.Kind != localKind || slot.Key != k.Fingerprint() {
		return nil, ErrNoSlot
	}
	if len(slot.Wrapped) != wrappedSize {
		return nil, ErrAuthentication
	}
	dataKey, err := cobblestone.Open(nil, key, ec.Canonical(), slot.Wrapped)
	return dataKey, authentication(err)
}
