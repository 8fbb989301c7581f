package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/keyservice"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/vault"
)

// signingFile is the embedded default for a vault that no local key is used with.
const signingFile = "signing.key"

const signingComment = `# A signing key of vaultpack. Whoever has this file can make versions of the datasets
# that it is a signer of; without it, another signer has to. It opens no data.
`

// SigningKey reads the configured signing key. If none is configured, it returns the key
// derived from a local key in keys, or otherwise the key in the file of the embedded
// default. If there is no signing key, the error wraps [vault.ErrNoSigner].
func SigningKey(ctx context.Context, c *Config, keys *vault.Keys) (signing.Signer, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, err
	}
	if c.Signing.Value != "" && !c.DefaultSigning {
		return c.signer(ctx, c.services())
	}
	if local := keys.Local(); local != nil {
		return signing.OfLocalKey(local)
	}
	if c.Signing.Value == "" {
		return nil, fmt.Errorf("%w: set one with --signing-key, made by: vaultpack keys new signing FILE", vault.ErrNoSigner)
	}
	key, err := readSigningKey(c.Signing)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, vault.ErrNoSigner
	}
	return key, err
}

// EnsureSigningKey is like SigningKey, but if the file of the embedded default is
// needed and does not exist, it creates the file and calls Config.MadeSigningKey.
func EnsureSigningKey(ctx context.Context, c *Config, keys *vault.Keys) (signing.Signer, error) {
	s, err := SigningKey(ctx, c, keys)
	if !errors.Is(err, vault.ErrNoSigner) || c.Signing.Value == "" {
		return s, err
	}
	if err := CreateSigningKey(c.Signing.Value); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	} else if err == nil && c.MadeSigningKey != nil {
		c.MadeSigningKey(c.Signing.Value)
	}
	return readSigningKey(c.Signing)
}

// agentPrefix begins a setting that names a key of ssh-agent by its public key, or a file
// with that.
const agentPrefix = "ssh-agent:"

// signingIn resolves the setting in a file, whose paths are relative to the file.
func signingIn(value string, inFile func(string) string) string {
	named, inAgent := strings.CutPrefix(value, agentPrefix)
	if _, err := signing.ParsePublicKey([]byte(named)); inAgent && err != nil {
		return agentPrefix + inFile(named)
	}
	if inAgent || strings.HasPrefix(value, "arn:") {
		return value
	}
	return inFile(value)
}

// signsInService reports whether the signing key is in a key service.
func (c *Config) signsInService() bool {
	return !c.DefaultSigning && strings.HasPrefix(c.Signing.Value, "arn:")
}

// signer opens the configured signing key, wherever it is kept.
func (c *Config) signer(ctx context.Context, services *keyservice.Client) (signing.Signer, error) {
	named, inAgent := strings.CutPrefix(c.Signing.Value, agentPrefix)
	switch {
	case c.signsInService():
		s, err := services.Signer(ctx, c.Signing.Value)
		if err != nil {
			return nil, fmt.Errorf("the signing key from %s: %w", c.Signing.Source, err)
		}
		return s, nil
	case inAgent:
		public, err := ReadSigner(named, named)
		if err != nil {
			return nil, fmt.Errorf("the signing key from %s: %w", c.Signing.Source, err)
		}
		s, err := signing.AgentKey(signing.AgentSocket(), public)
		if err != nil {
			return nil, fmt.Errorf("the signing key from %s: %w", c.Signing.Source, err)
		}
		return s, nil
	}
	return readSigningKey(c.Signing)
}

// setSigner makes a vault open its signing key once, when it is first needed, and counts
// the billed calls among those of the vault's keys.
func (c *Config) setSigner(v *vault.Vault) {
	if !c.signsInService() {
		v.OpenSigner = func(ctx context.Context) (signing.Signer, error) { return SigningKey(ctx, c, v.Keys) }
		v.MakeSigner = func(ctx context.Context) (signing.Signer, error) { return EnsureSigningKey(ctx, c, v.Keys) }
		return
	}
	services, others := keyservice.New(keyservice.Settings{AWS: c.aws()}), v.Keys.Calls
	v.Keys.Calls = func() int64 {
		n := services.Calls()
		if others != nil {
			n += others()
		}
		return n
	}
	var mu sync.Mutex
	var opened signing.Signer
	v.OpenSigner = func(ctx context.Context) (signing.Signer, error) {
		mu.Lock()
		defer mu.Unlock()
		if opened == nil {
			s, err := c.signer(ctx, services)
			if err != nil {
				return nil, err
			}
			opened = s
		}
		return opened, nil
	}
}

// readSigningKey reads a file with a signing key: one of vaultpack's own, or an OpenSSH
// private key.
func readSigningKey(s Setting) (signing.Signer, error) {
	b, err := readSecret("signing key", s)
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

// CreateSigningKey creates a signing key in a file that only its owner may read. The
// error wraps fs.ErrExist if the file exists.
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

// defaultSigning returns the path of the embedded default.
func defaultSigning(home Setting) Setting {
	return Setting{filepath.Join(home.Value, signingFile), "embedded default, below " + home.Source}
}
