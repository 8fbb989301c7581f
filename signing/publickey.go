package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// ErrSignature is wrapped by the error for every signature that does not verify.
var ErrSignature = errors.New("the signature does not verify")

// publicPrefix begins a public key as text.
const publicPrefix = "vaultpack-signer-1:"

// A KeyID names a public key: it is the SHA-256 of its SubjectPublicKeyInfo in DER.
type KeyID [sha256.Size]byte

// String returns the ID in hex.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the beginning of the ID, for people. It proves nothing.
func (id KeyID) Short() string { return hex.EncodeToString(id[:8]) }

// ParseKeyID parses the result of KeyID.String.
func ParseKeyID(s string) (id KeyID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || s != strings.ToLower(s) {
		return id, fmt.Errorf("%q is no key ID of %d hex digits", s, 2*len(id))
	}
	return KeyID(b), nil
}

// A PublicKey verifies signatures. It can be compared with ==; its zero value is not a
// key.
type PublicKey struct{ der string }

// NewPublicKey returns the PublicKey of an ed25519.PublicKey or of an *ecdsa.PublicKey
// on P-256.
func NewPublicKey(key crypto.PublicKey) (PublicKey, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return PublicKey{}, errors.New("an Ed25519 public key has 32 bytes")
		}
	case *ecdsa.PublicKey:
		if k == nil || k.Curve != elliptic.P256() {
			return PublicKey{}, errors.New("of ECDSA keys, only those on P-256 can sign versions")
		}
	default:
		return PublicKey{}, fmt.Errorf("a %T cannot sign versions: use an Ed25519 key, or ECDSA on P-256", key)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{string(der)}, nil
}

// ParsePublicKey parses a public key: the result of String, the line of an OpenSSH
// public key file, or a PEM block of type PUBLIC KEY.
func ParsePublicKey(text []byte) (PublicKey, error) {
	text = bytes.TrimSpace(text)
	if b, ok := bytes.CutPrefix(text, []byte(publicPrefix)); ok {
		der, err := base64.StdEncoding.Strict().DecodeString(string(b))
		if err != nil {
			return PublicKey{}, fmt.Errorf("after %q, the key is not in base64", publicPrefix)
		}
		return parseDER(der)
	}
	if block, rest := pem.Decode(text); block != nil {
		if block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
			return PublicKey{}, fmt.Errorf("the PEM block is %q; want one block PUBLIC KEY", block.Type)
		}
		return parseDER(block.Bytes)
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey(text)
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return PublicKey{}, fmt.Errorf("it is no public signing key: want %s…, an OpenSSH public key, or a PEM block PUBLIC KEY", publicPrefix)
	}
	// What a hardware key (sk-) signs is not the message.
	c, ok := key.(ssh.CryptoPublicKey)
	if !ok || key.Type() != ssh.KeyAlgoED25519 && key.Type() != ssh.KeyAlgoECDSA256 {
		return PublicKey{}, fmt.Errorf("an OpenSSH key of type %s cannot sign versions: use ssh-ed25519 or ecdsa-sha2-nistp256", key.Type())
	}
	return NewPublicKey(c.CryptoPublicKey())
}

// parseDER reads a SubjectPublicKeyInfo. There is one encoding of a key.
func parseDER(der []byte) (PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return PublicKey{}, errors.New("it is no public key that this version of vaultpack knows")
	}
	p, err := NewPublicKey(key)
	if err == nil && p.der != string(der) {
		err = errors.New("the public key is not encoded as DER demands")
	}
	return p, err
}

// IsZero reports whether p is the zero value, which is not a key.
func (p PublicKey) IsZero() bool { return p.der == "" }

// ID returns the key's ID.
func (p PublicKey) ID() KeyID { return sha256.Sum256([]byte(p.der)) }

// String returns the key as one word of text, which ParsePublicKey parses.
func (p PublicKey) String() string {
	if p.IsZero() {
		return ""
	}
	return publicPrefix + base64.StdEncoding.EncodeToString([]byte(p.der))
}

// MarshalText returns the same text as String.
func (p PublicKey) MarshalText() ([]byte, error) {
	if p.IsZero() {
		return nil, errors.New("signing: a public key of zero value")
	}
	return []byte(p.String()), nil
}

// UnmarshalText parses the result of MarshalText, and no other form.
func (p *PublicKey) UnmarshalText(text []byte) error {
	if !bytes.HasPrefix(text, []byte(publicPrefix)) {
		return fmt.Errorf("a public signing key begins with %q", publicPrefix)
	}
	k, err := ParsePublicKey(text)
	if err != nil {
		return err
	}
	*p = k
	return nil
}

// PEM returns the key in the form that other tools read: a PEM block of type PUBLIC
// KEY.
func (p PublicKey) PEM() []byte {
	if p.IsZero() {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte(p.der)})
}

// Key returns the key for package crypto: an ed25519.PublicKey or an *ecdsa.PublicKey.
func (p PublicKey) Key() crypto.PublicKey {
	key, err := x509.ParsePKIXPublicKey([]byte(p.der))
	if err != nil {
		return nil
	}
	return key
}

// Verify returns an error that wraps ErrSignature unless sig is the key's signature
// of the message. An ECDSA signature is in ASN.1.
func (p PublicKey) Verify(message, sig []byte) error {
	ok := false
	switch k := p.Key().(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(k, message, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		ok = ecdsa.VerifyASN1(k, sum[:], sig)
	}
	if !ok {
		return ErrSignature
	}
	return nil
}
