package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/vault"
)

// signingFile is the embedded default for a vault that no local key is used with.
const signingFile = "signing.key"

const signingComment = `# A signing key of vaultpack. Whoever has this file can make versions of the datasets
# that it is a signer of; without it, another signer has to. It opens no data.
`

// SigningKey reads the configured signing key; where there is none, it is the one that is
// derived from a local key of keys, and else that in the file of the embedded default.
// That is made if create is set, and Config.MadeSigningKey told. The error wraps
// [vault.ErrNoSigner] where there is none.
func SigningKey(ctx context.Context, c *Config, keys *vault.Keys, create bool) (signing.Signer, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, err
	}
	if c.Signing.Value != "" && !c.DefaultSigning {
		return readSigningKey(c.Signing)
	}
	if local := keys.Local(); local != nil {
		return signing.OfLocalKey(local)
	}
	if c.Signing.Value == "" {
		return nil, fmt.Errorf("%w: set one with --signing-key, made by: vaultpack keys new signing FILE", vault.ErrNoSigner)
	}
	key, err := readSigningKey(c.Signing)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if !create {
		return nil, vault.ErrNoSigner
	}
	if err := CreateSigningKey(c.Signing.Value); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	} else if err == nil && c.MadeSigningKey != nil {
		c.MadeSigningKey(c.Signing.Value)
	}
	return readSigningKey(c.Signing)
}

// readSigningKey reads a file with a signing key: one of vaultpack's own, or an OpenSSH
// private key.
func readSigningKey(s Setting) (signing.Signer, error) {
	b, err := ReadSecret("signing key", s)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if _, err := signing.ParsePublicKey(b); err == nil {
		return nil, fmt.Errorf("%s is a public key and signs nothing. Use its private key, usually the file without .pub", s.Value)
	}
	if signing.IsOpenSSH(b) {
		key, err := signing.ParseOpenSSH(b)
		if err != nil {
			return nil, fmt.Errorf("the signing key %s: %w", s.Value, err)
		}
		return key, nil
	}
	key, err := signing.ParsePrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s is not a signing key: %w", s.Value, err)
	}
	return key, nil
}

// CreateSigningKey makes a signing key in a file that only its owner may read. The error
// wraps fs.ErrExist if there is one of the name.
func CreateSigningKey(file string) error {
	key := signing.GenerateKey()
	defer key.Wipe()
	text := append([]byte(signingComment), key.EncodeSecret()...)
	defer clear(text)
	if err := WriteSecret(file, text); err != nil {
		return fmt.Errorf("making the signing key: %w", err)
	}
	return nil
}

// defaultSigning is where the embedded default lies.
func defaultSigning(home Setting) Setting {
	return Setting{filepath.Join(home.Value, signingFile), "embedded default, below " + home.Source}
}
