// Package vault opens a vault: the place where datasets live, as a [Store] of
// objects, and the keys that the user has configured for it. A vault is a
// directory; its layout below a dataset's name is package dataset's matter.
package vault

import (
	"context"
	"errors"
	"fmt"
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
	Keys     *Keys
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
	keys, err := ReadKeys(c)
	if err != nil {
		return nil, err
	}
	return &Vault{Store: dir, Location: abs, Keys: keys, Context: c.Context}, nil
}
