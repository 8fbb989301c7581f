package envelope

import (
	"context"
	"crypto/fips140"
	"crypto/hpke"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/vaultpack/vaultpack/internal/keytext"
)

// An Identity is the private half of a key pair. Its public half, a [Recipient],
// can wrap data keys without the Identity, which can be kept offline as a
// recovery key. The pair is hybrid, ML-KEM-768 with X25519: it is secure as long
// as either of the two is, so also against a quantum computer if ML-KEM-768 is.
// An Identity is a [KeyWrapper], prints only its fingerprint, and is safe for
// concurrent use until it is wiped. An Identity must not be copied; copies are
// refused.
type Identity struct {
	_         noCopy
	self      *Identity
	seed      *secret
	recipient *Recipient
}

// A Recipient is the public half of an [Identity]. It is a [KeyWrapper] that
// wraps and never unwraps. It is safe for concurrent use.
type Recipient struct {
	public      hpke.PublicKey
	fingerprint string
}

const (
	hpkeKind        = "hpke"
	identityPrefix  = "vaultpack-identity-1:"
	recipientPrefix = "vaultpack-recipient-1:"

	seedSize      = 32        // draft-ietf-hpke-pq: the private key of X-Wing
	publicSize    = 1184 + 32 // the encapsulation keys of ML-KEM-768 and X25519
	encapsulation = 1088 + 32 // their ciphertexts
	hpkeWrapped   = encapsulation + DataKeySize + 16
)

// The suite of RFC 9180 and draft-ietf-hpke-pq: KEM 0x647a, KDF 0x0003,
// AEAD 0x0002.
func hpkeKEM() hpke.KEM   { return hpke.MLKEM768X25519() }
func hpkeKDF() hpke.KDF   { return hpke.HKDFSHA512() }
func hpkeAEAD() hpke.AEAD { return hpke.AES256GCM() }

func hpkeInfo(ec EncryptionContext) []byte {
	return append([]byte(labelHPKEWrap), ec.Canonical()...)
}

var errHPKEInFIPS = errors.New("GODEBUG=fips140=only refuses X25519, which slots of kind \"hpke\" use; " +
	"GODEBUG=fips140=on uses the validated module without this refusal")

// GenerateIdentity returns a new random key pair.
func GenerateIdentity() (*Identity, error) { return newIdentity(randomBytes(seedSize)) }

func newIdentity(seed []byte) (*Identity, error) {
	if fips140.Enforced() {
		return nil, errHPKEInFIPS
	}
	private, err := hpkeKEM().NewPrivateKey(seed)
	if err != nil {
		return nil, fmt.Errorf("making an identity: %w", err)
	}
	i := &Identity{seed: newSecret(seed), recipient: newRecipient(private.PublicKey())}
	i.self = i
	return i, nil
}

func (i *Identity) usable() error {
	if i == nil {
		return usable("identity", i, nil)
	}
	return usable("identity", i, i.self)
}

func newRecipient(public hpke.PublicKey) *Recipient {
	sum := sha512.Sum512(append([]byte(labelHPKEID), public.Bytes()...))
	return &Recipient{public, hex.EncodeToString(sum[:16])}
}

// ParseIdentity parses the result of [Identity.EncodeSecret]. Empty lines and
// lines that begin with # are skipped. The error never holds any of the text.
func ParseIdentity(text []byte) (*Identity, error) {
	seed, err := keytext.Parse(text, identityPrefix, seedSize)
	if err != nil {
		return nil, err
	}
	return newIdentity(seed)
}

// EncodeSecret returns the identity as a line of text. Keep it in a file that
// only its owner can read. The result is nil if the identity was wiped or is a
// copy.
func (i *Identity) EncodeSecret() []byte {
	if i.usable() != nil {
		return nil
	}
	return encodeSecret(identityPrefix, i.seed)
}

// Recipient returns the public half, which can be published.
func (i *Identity) Recipient() *Recipient {
	if i == nil {
		return nil
	}
	return i.recipient
}

// Fingerprint returns the name of the key pair: 16 bytes in hex.
func (i *Identity) Fingerprint() string { return i.Recipient().Fingerprint() }

// Wipe overwrites the private key. Every later use of the Identity returns an
// error that wraps [ErrKeyUnusable]; its Recipient can still be used.
func (i *Identity) Wipe() {
	if i != nil && i.seed != nil {
		i.seed.wipe()
	}
}

// String returns the fingerprint, never the key.
func (i *Identity) String() string { return "identity " + i.Fingerprint() }

// Format keeps every verb of fmt from printing the key.
func (i *Identity) Format(s fmt.State, _ rune) { fmt.Fprint(s, i.String()) }

// MarshalText keeps encoders from writing the key.
func (i *Identity) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// LogValue keeps loggers from writing the key.
func (i *Identity) LogValue() slog.Value { return slog.StringValue(i.String()) }

// Wrap does what Recipient.Wrap does.
func (i *Identity) Wrap(ctx context.Context, dataKey []byte, ec EncryptionContext) (Slot, error) {
	if _, err := i.acquire(ctx); err != nil {
		return Slot{}, err
	}
	defer i.seed.release()
	return i.recipient.Wrap(ctx, dataKey, ec)
}

// acquire is the private key, which the caller releases.
func (i *Identity) acquire(ctx context.Context) ([]byte, error) {
	if err := begin(ctx); err != nil {
		return nil, err
	}
	if err := i.usable(); err != nil {
		return nil, err
	}
	seed, err := i.seed.acquire()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", i, err)
	}
	return seed, nil
}

// Unwrap opens what Recipient.Wrap sealed.
func (i *Identity) Unwrap(ctx context.Context, slot Slot, ec EncryptionContext) ([]byte, error) {
	seed, err := i.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer i.seed.release()
	if slot.Kind != hpkeKind || slot.Key != i.Fingerprint() {
		return nil, ErrNoSlot
	}
	if len(slot.Wrapped) != hpkeWrapped {
		return nil, ErrAuthentication
	}
	private, err := hpkeKEM().NewPrivateKey(seed)
	if err != nil {
		return nil, fmt.Errorf("using an identity: %w", err)
	}
	dataKey, err := hpke.Open(private, hpkeKDF(), hpkeAEAD(), hpkeInfo(ec), slot.Wrapped)
	if err != nil {
		return nil, ErrAuthentication
	}
	return dataKey, nil
}

// ParseRecipient parses the result of [Recipient.Encode]. It skips lines as
// [ParseIdentity] does.
func ParseRecipient(text []byte) (*Recipient, error) {
	b, err := keytext.Parse(text, recipientPrefix, publicSize)
	if err != nil {
		return nil, err
	}
	public, err := hpkeKEM().NewPublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("this is no recipient's public key: %w", err)
	}
	return newRecipient(public), nil
}

// Encode returns the public key as a line of text.
func (r *Recipient) Encode() []byte {
	if r == nil || r.public == nil {
		return nil
	}
	return keytext.Encode(recipientPrefix, r.public.Bytes())
}

// Fingerprint returns the name of the key pair: 16 bytes in hex.
func (r *Recipient) Fingerprint() string {
	if r == nil {
		return ""
	}
	return r.fingerprint
}

// String returns the fingerprint.
func (r *Recipient) String() string { return "recipient " + r.Fingerprint() }

// Wrap encrypts the data key to the Recipient with HPKE (RFC 9180) in base mode.
// The canonical encryption context is part of its info.
func (r *Recipient) Wrap(ctx context.Context, dataKey []byte, ec EncryptionContext) (Slot, error) {
	if err := r.ready(ctx); err != nil {
		return Slot{}, err
	}
	if fips140.Enforced() {
		return Slot{}, errHPKEInFIPS
	}
	wrapped, err := hpke.Seal(r.public, hpkeKDF(), hpkeAEAD(), hpkeInfo(ec), dataKey)
	if err != nil {
		return Slot{}, fmt.Errorf("wrapping to %v: %w", r, err)
	}
	return Slot{Kind: hpkeKind, Key: r.fingerprint, Wrapped: wrapped}, nil
}

// Unwrap returns ErrNoSlot: a public key cannot open a slot.
func (r *Recipient) Unwrap(ctx context.Context, _ Slot, _ EncryptionContext) ([]byte, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	return nil, ErrNoSlot
}

// ready is the error of a Recipient that cannot be used.
func (r *Recipient) ready(ctx context.Context) error {
	if err := begin(ctx); err != nil {
		return err
	}
	if r == nil || r.public == nil {
		return fmt.Errorf("%w: the recipient is nil or a zero value", ErrKeyUnusable)
	}
	return nil
}
