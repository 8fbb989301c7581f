package signing

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/keytext"
)

// A Signer signs with a private key, which may be kept elsewhere. It must be safe for
// concurrent use.
type Signer interface {
	// Public returns the key that verifies the signatures. It is always the same.
	Public() PublicKey
	// Sign signs the message itself, not a hash of it that the caller computed.
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// ErrKeyUnusable is wrapped by the errors of keys that are nil, wiped, or not made by
// this package. It is envelope.ErrKeyUnusable.
var ErrKeyUnusable = envelope.ErrKeyUnusable

const privatePrefix = "vaultpack-signing-key-1:"

// A PrivateKey is an Ed25519 key in memory. It prints only its public key's ID, and
// is safe for concurrent use, also while and after it is wiped.
type PrivateKey struct {
	_      noCopy
	public PublicKey
	secret *secret
}

type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// A secret is two pointers deep, so that no verb of fmt prints it.
type secret struct{ p *material }

type material struct {
	mu  sync.RWMutex
	key ed25519.PrivateKey // nil once wiped
}

// GenerateKey returns a new random key.
func GenerateKey() *PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed)
	return newPrivateKey(seed)
}

// newPrivateKey overwrites the seed.
func newPrivateKey(seed []byte) *PrivateKey {
	key := ed25519.NewKeyFromSeed(seed)
	clear(seed)
	public, err := NewPublicKey(key.Public())
	if err != nil {
		panic("signing: " + err.Error()) // an Ed25519 key always is one
	}
	return &PrivateKey{public: public, secret: &secret{&material{key: key}}}
}

// OfLocalKey returns the signing key derived from a local key. It is always the same.
func OfLocalKey(k *envelope.LocalKey) (*PrivateKey, error) {
	seed, err := k.SigningSeed()
	if err != nil {
		return nil, err
	}
	return newPrivateKey(seed), nil
}

// ParsePrivateKey parses the result of EncodeSecret. Empty lines and lines that begin
// with # are skipped. The error never holds any of the text.
func ParsePrivateKey(text []byte) (*PrivateKey, error) {
	seed, err := keytext.Parse(text, privatePrefix, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	return newPrivateKey(seed), nil
}

// EncodeSecret returns the key as a line of text. Keep it in a file that only its owner
// can read. The result is nil if the key was wiped.
func (k *PrivateKey) EncodeSecret() []byte {
	if k == nil || k.secret == nil {
		return nil
	}
	k.secret.p.mu.RLock()
	defer k.secret.p.mu.RUnlock()
	if k.secret.p.key == nil {
		return nil
	}
	return keytext.Encode(privatePrefix, k.secret.p.key.Seed())
}

// Public returns the key that verifies the signatures.
func (k *PrivateKey) Public() PublicKey {
	if k == nil {
		return PublicKey{}
	}
	return k.public
}

// Sign signs the message with Ed25519. It fails only if the context has ended, or the
// key has been wiped.
func (k *PrivateKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if ctx == nil {
		return nil, errors.New("signing: the context is nil")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if k == nil || k.secret == nil {
		return nil, fmt.Errorf("%w: the signing key is nil or a zero value", ErrKeyUnusable)
	}
	k.secret.p.mu.RLock()
	defer k.secret.p.mu.RUnlock()
	if k.secret.p.key == nil {
		return nil, fmt.Errorf("%v: %w: it has been wiped", k, ErrKeyUnusable)
	}
	return ed25519.Sign(k.secret.p.key, message), nil
}

// Wipe overwrites the key.
func (k *PrivateKey) Wipe() {
	if k == nil || k.secret == nil {
		return
	}
	k.secret.p.mu.Lock()
	defer k.secret.p.mu.Unlock()
	clear(k.secret.p.key)
	k.secret.p.key = nil
}

// String returns the public key's ID, never the key.
func (k *PrivateKey) String() string {
	if k == nil || k.public.IsZero() {
		return "no signing key"
	}
	return "signing key " + k.public.ID().Short()
}

// Format keeps every verb of fmt from printing the key.
func (k *PrivateKey) Format(s fmt.State, _ rune) { fmt.Fprint(s, k.String()) }

// MarshalText keeps encoders from writing the key.
func (k *PrivateKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue keeps loggers from writing the key.
func (k *PrivateKey) LogValue() slog.Value { return slog.StringValue(k.String()) }
