package envelope

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
)

// A LocalKey is a key encryption key that its owner keeps in a file: 32 random
// bytes. It is a [KeyWrapper], prints as its fingerprint only, and is safe for
// concurrent use.
type LocalKey struct {
	secret *secret
	wrap   *secret // derived from secret
}

const (
	localKind   = "local"
	localPrefix = "vaultpack-local-key-1:"
)

// GenerateLocalKey makes a new random key.
func GenerateLocalKey() *LocalKey { return newLocalKey(randomBytes(32)) }

func newLocalKey(secret []byte) *LocalKey {
	return &LocalKey{newSecret(secret), newSecret(expand(secret, labelLocalWrap, cobblestone.KeySize))}
}

// ParseLocalKey reads what EncodeSecret writes. Empty lines and lines that
// begin with # are passed over. The error never holds any of the text.
func ParseLocalKey(text []byte) (*LocalKey, error) {
	var found *LocalKey
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		enc, ok := strings.CutPrefix(line, localPrefix)
		secret, err := base64.StdEncoding.Strict().DecodeString(enc)
		if !ok || err != nil || len(secret) != 32 || found != nil {
			return nil, fmt.Errorf("want one line %q and 32 bytes in base64", localPrefix)
		}
		found = newLocalKey(secret)
	}
	if found == nil {
		return nil, errors.New("there is no key in it")
	}
	return found, nil
}

// EncodeSecret is the key as text, to be kept in a file that only its owner can
// read.
func (k *LocalKey) EncodeSecret() []byte {
	return append(base64.StdEncoding.AppendEncode([]byte(localPrefix), k.secret.bytes()), '\n')
}

// Fingerprint names the key without telling it: 16 bytes in hex.
func (k LocalKey) Fingerprint() string {
	return hex.EncodeToString(expand(k.secret.bytes(), labelLocalID, 16))
}

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
	dataKey, err := cobblestone.Open(nil, k.wrap.bytes(), ec.Canonical(), slot.Wrapped)
	if errors.Is(err, cobblestone.ErrOpen) {
		err = ErrAuthentication
	}
	return dataKey, err
}
