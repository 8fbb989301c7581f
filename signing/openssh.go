package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/crypto/ssh"
)

// IsOpenSSH reports whether text is a private key in OpenSSH format or another PEM
// format.
func IsOpenSSH(text []byte) bool { return bytes.Contains(text, []byte("-----BEGIN ")) }

// ParseOpenSSH parses an OpenSSH private key file: ssh-ed25519 or ecdsa-sha2-nistp256,
// without a passphrase. The error never holds any of the text.
func ParseOpenSSH(text []byte) (Signer, error) {
	raw, err := ssh.ParseRawPrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, errors.New("it is encrypted with a passphrase; add it to ssh-agent (ssh-add FILE), and set the signing key to ssh-agent:FILE.pub")
	}
	if err != nil {
		return nil, errors.New("it is no private key of OpenSSH")
	}
	switch k := raw.(type) {
	case *ed25519.PrivateKey:
		return newPrivateKey(k.Seed()), nil
	case *ecdsa.PrivateKey:
		public, err := NewPublicKey(k.Public())
		if err != nil {
			return nil, err
		}
		return &ecdsaKey{public, k}, nil
	}
	return nil, fmt.Errorf("a key of type %T cannot sign versions: use ssh-ed25519 or ecdsa-sha2-nistp256", raw)
}

// An ecdsaKey signs with ECDSA on P-256. It prints as its public key's ID.
type ecdsaKey struct {
	public PublicKey
	key    crypto.Signer
}

func (k *ecdsaKey) Public() PublicKey { return k.public }

func (k *ecdsaKey) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(message)
	return k.key.Sign(rand.Reader, sum[:], crypto.SHA256)
}

func (k *ecdsaKey) String() string               { return "signing key " + k.public.ID().Short() }
func (k *ecdsaKey) Format(s fmt.State, _ rune)   { fmt.Fprint(s, k.String()) }
func (k *ecdsaKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
func (k *ecdsaKey) LogValue() slog.Value         { return slog.StringValue(k.String()) }
