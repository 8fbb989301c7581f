// Package vault opens a vault: the place where datasets live, as a [Store] of
// objects, and the keys that the user has configured for it. A vault is a
// directory; its layout below a dataset's name is package dataset's matter.
package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vaultpack/vaultpack/envelope"
)

// A Vault is an opened vault.
type Vault struct {
	Store
	// Location is the vault's URL or absolute directory.
	Location string
	// Keys open and wrap the data keys; the first makes new ones.
	Keys []envelope.KeyWrapper
	// KeyNames tell where the keys are, for people.
	KeyNames []string
	// Context is the user's part of the encryption context.
	Context envelope.EncryptionContext
}

// ErrNoVault is returned by Open for a directory that is no vault.
var ErrNoVault = errors.New("there is no vault")

const (
	markerName = "vaultpack-vault.json"
	marker     = `{"format":"vaultpack-vault/1"}` + "\n"
)

// Open opens the configured vault, which must have been made before. It returns
// an error that wraps ErrNoVault if it has not.
func Open(c *Config) (*Vault, error) {
	if err := supported(c); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(c.Vault.Value, markerName))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, c.noVault()
	}
	if err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	if string(b) != marker {
		return nil, fmt.Errorf("%s: %w", filepath.Join(c.Vault.Value, markerName), envelope.ErrAuthentication)
	}
	return open(c)
}

// OpenForWriting is Open, but makes the embedded default on its first use, and
// then created is true.
func OpenForWriting(ctx context.Context, c *Config) (v *Vault, created bool, err error) {
	v, err = Open(c)
	if errors.Is(err, ErrNoVault) && c.Default {
		return Init(ctx, c)
	}
	return v, false, err
}

func (c *Config) noVault() error {
	if c.Default {
		return fmt.Errorf("%w yet at %s (%s): the first upload makes it", ErrNoVault, c.Vault.Value, c.Vault.Source)
	}
	return fmt.Errorf("%w at %s (from %s): check the path, or make one there with: vaultpack init --vault %s",
		ErrNoVault, c.Vault.Value, c.Vault.Source, c.Vault.Value)
}

// Init makes the configured vault and its local key, or checks those that are
// there; created tells whether anything was made.
func Init(ctx context.Context, c *Config) (v *Vault, created bool, err error) {
	if err := supported(c); err != nil {
		return nil, false, err
	}
	if err := os.MkdirAll(c.Vault.Value, 0o755); err != nil {
		return nil, false, fmt.Errorf("making the vault: %w", err)
	}
	dir, err := openDir(c.Vault.Value)
	if err != nil {
		return nil, false, fmt.Errorf("opening the vault: %w", err)
	}
	// The key first: a vault with a marker has a key.
	keyMade, err := ensureLocalKey(ctx, c, dir)
	if err != nil {
		return nil, false, err
	}
	err = dir.Create(ctx, markerName, []byte(marker))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, fmt.Errorf("making the vault: %w", err)
	}
	made := err == nil
	if v, err = open(c); err != nil {
		return nil, false, err
	}
	return v, made || keyMade, nil
}

func supported(c *Config) error {
	if scheme, _, ok := strings.Cut(c.Vault.Value, "://"); ok {
		return fmt.Errorf("the vault %s (from %s): this version of vaultpack knows vaults in directories only, not %s://",
			c.Vault.Value, c.Vault.Source, scheme)
	}
	return nil
}

func open(c *Config) (*Vault, error) {
	abs, err := filepath.Abs(c.Vault.Value)
	if err != nil {
		return nil, err
	}
	dir, err := openDir(abs)
	if err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	key, err := ReadLocalKey(c)
	if err != nil {
		return nil, err
	}
	return &Vault{Store: dir, Location: abs, Keys: []envelope.KeyWrapper{key},
		KeyNames: []string{c.LocalKey.Value}, Context: c.Context}, nil
}

// ReadLocalKey reads the configured local key. Errors name the file, say what to
// do, and hold nothing of its contents.
func ReadLocalKey(c *Config) (*envelope.LocalKey, error) {
	file := c.LocalKey.Value
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the local key %s (from %s) does not exist; put it back from its backup, or name another with --local-key. "+
			"Without the key nothing in the vault can be read: %w", file, c.LocalKey.Source, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the local key: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the local key %s may be read by others (mode %v); make it yours alone with: chmod 600 %s", file, mode, file)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the local key: %w", err)
	}
	defer clear(b)
	key, err := envelope.ParseLocalKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s is not a local key of vaultpack: %w; put it back from its backup", file, err)
	}
	return key, nil
}

// ensureLocalKey makes the local key if it is missing, but not beside a vault
// that already holds data: that data was sealed with another.
func ensureLocalKey(ctx context.Context, c *Config, store Store) (made bool, err error) {
	if _, err := ReadLocalKey(c); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for o, err := range store.List(ctx, "") {
		if err != nil {
			return false, fmt.Errorf("listing the vault: %w", err)
		}
		if strings.Contains(o.Name, "/keys/") {
			_, err := ReadLocalKey(c)
			return false, fmt.Errorf("the vault %s already holds data, so no new key is made: %w", c.Vault.Value, err)
		}
	}
	return CreateLocalKey(c)
}

const keyComment = `# A local key of vaultpack. Whoever has this file can read the data that was
# sealed with it; without it, nobody can. Keep a copy in a safe place.
`

// CreateLocalKey makes the configured local key, if there is none yet.
func CreateLocalKey(c *Config) (made bool, err error) {
	file := c.LocalKey.Value
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return false, fmt.Errorf("making the local key: %w", err)
	}
	// A link does not replace a file, so of two processes one makes the key.
	tmp := filepath.Join(filepath.Dir(file), tmpPrefix+rand.Text())
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, fmt.Errorf("making the local key: %w", err)
	}
	defer os.Remove(tmp)
	text := append([]byte(keyComment), envelope.GenerateLocalKey().EncodeSecret()...)
	defer clear(text)
	_, err = io.Copy(f, bytes.NewReader(text))
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Link(tmp, file)
	}
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("making the local key: %w", err)
	}
	if dir, err := os.Open(filepath.Dir(file)); err == nil {
		dir.Sync()
		dir.Close()
	}
	return true, nil
}
