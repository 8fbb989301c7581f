// Package vault opens a vault: the place where datasets live, as a [Store] of
// objects, and the keys that the user has configured for it. A vault is a
// directory, or a prefix of an S3 bucket; its layout below a dataset's name is
// package dataset's matter.
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

// Open opens the configured vault. A directory must have been made a vault before,
// else the error wraps ErrNoVault. A vault in S3 is a bucket and a prefix, and
// needs no making; that the bucket can be used, the first request tells.
func Open(ctx context.Context, c *Config) (*Vault, error) {
	if err := there(c); err != nil {
		return nil, err
	}
	return open(ctx, c)
}

// there looks whether a vault in a directory is one.
func there(c *Config) error {
	if err := supported(c); err != nil || IsS3URL(c.Vault.Value) {
		return err
	}
	b, err := os.ReadFile(filepath.Join(c.Vault.Value, markerName))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return c.noVault()
	}
	if err != nil {
		return fmt.Errorf("opening the vault: %w", err)
	}
	if string(b) != marker {
		return fmt.Errorf("%s: %w", filepath.Join(c.Vault.Value, markerName), envelope.ErrAuthentication)
	}
	return nil
}

// OpenPublic is Open for whoever looks at what needs no key: Keys has those of the
// configured keys that can be read, and keys says why others cannot.
func OpenPublic(ctx context.Context, c *Config) (v *Vault, keys, err error) {
	if err := there(c); err != nil {
		return nil, nil, err
	}
	store, location, err := openStore(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	k, keys := ReadableKeys(ctx, c)
	return &Vault{Store: store, Location: location, Keys: k, Context: c.Context}, keys, nil
}

// OpenForWriting is Open, but makes the embedded default on its first use, and
// then created is true.
func OpenForWriting(ctx context.Context, c *Config) (v *Vault, created bool, err error) {
	v, err = Open(ctx, c)
	if errors.Is(err, ErrNoVault) && c.Default {
		return Init(ctx, c)
	}
	return v, false, err
}

func (c *Config) noVault() error {
	if c.Default {
		return fmt.Errorf("%w yet at %s (%s): the first upload makes it", ErrNoVault, c.Vault.Value, c.Vault.Source)
	}
	return fmt.Errorf("%w at %s (from %s): check the path, or make one there with vaultpack init",
		ErrNoVault, c.Vault.Value, c.Vault.Source)
}

// Init makes the configured vault and its local key, or checks those that are
// there; created tells whether anything was made. It makes no bucket and no KMS
// key, and no local key where KMS keys are configured.
func Init(ctx context.Context, c *Config) (v *Vault, created bool, err error) {
	if err := supported(c); err != nil {
		return nil, false, err
	}
	if c, err = c.Resolved(ctx); err != nil {
		return nil, false, err
	}
	if !IsS3URL(c.Vault.Value) {
		if err := os.MkdirAll(c.Vault.Value, 0o755); err != nil {
			return nil, false, fmt.Errorf("making the vault: %w", err)
		}
	}
	store, _, err := openStore(ctx, c)
	if err != nil {
		return nil, false, err
	}
	// The key first: a vault with a marker has a key.
	if len(c.KMSKeys) == 0 {
		if created, err = ensureLocalKey(ctx, c, store); err != nil {
			return nil, false, err
		}
	}
	if dir, ok := store.(*dirStore); ok {
		err := dir.Create(ctx, markerName, []byte(marker))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, false, fmt.Errorf("making the vault: %w", err)
		}
		created = created || err == nil
	} else if _, err := store.Folders(ctx, ""); err != nil {
		return nil, false, fmt.Errorf("looking into the bucket: %w", err)
	}
	if v, err = open(ctx, c); err != nil {
		return nil, false, err
	}
	return v, created, nil
}

func supported(c *Config) error {
	if scheme, _, ok := strings.Cut(c.Vault.Value, "://"); ok && !IsS3URL(c.Vault.Value) {
		return fmt.Errorf("the vault %s (from %s): there are vaults in directories and at s3:// URLs, not at %s://",
			c.Vault.Value, c.Vault.Source, scheme)
	}
	return nil
}

func open(ctx context.Context, c *Config) (*Vault, error) {
	c, err := c.Resolved(ctx)
	if err != nil {
		return nil, err
	}
	store, location, err := openStore(ctx, c)
	if err != nil {
		return nil, err
	}
	keys, err := ReadKeys(ctx, c)
	if err != nil {
		var missing *MissingKeyError
		if errors.As(err, &missing) {
			missing.findOthers(ctx, store)
		}
		return nil, err
	}
	return &Vault{Store: store, Location: location, Keys: keys, Context: c.Context}, nil
}

// openStore opens the place where the objects are.
func openStore(ctx context.Context, c *Config) (store Store, location string, err error) {
	if IsS3URL(c.Vault.Value) {
		set := c.S3
		if set.SSE != SSENone {
			set.KMSKey = c.SSEKey()
		}
		store, err := OpenS3(ctx, c.Vault.Value, set)
		if err != nil {
			return nil, "", err
		}
		return store, c.Vault.Value, nil
	}
	abs, err := filepath.Abs(c.Vault.Value)
	if err != nil {
		return nil, "", err
	}
	dir, err := openDir(abs)
	if err != nil {
		return nil, "", fmt.Errorf("opening the vault: %w", err)
	}
	return dir, abs, nil
}

// Usage counts what a vault has asked of services that bill it.
type Usage struct {
	S3 S3Usage `json:"s3"`
	// KMSCalls are calls to AWS KMS, without the SDK's own repetitions.
	KMSCalls int64 `json:"kms_calls"`
}

// Usage tells what has been used so far, or in a plan, what a run would use; ok is
// false where nothing is billed.
func (v *Vault) Usage() (u Usage, ok bool) {
	store := v.Store
	plan, planned := store.(*plannedStore)
	if planned {
		store = plan.Store
	}
	if s, isS3 := store.(*S3); isS3 {
		u.S3, ok = s.Usage(), true
	}
	if v.Keys.kms != nil {
		u.KMSCalls, ok = v.Keys.kms.calls.Load(), true
	}
	if planned {
		u.S3 = plan.planned(u.S3)
		u.KMSCalls += plan.kmsCalls.Load()
	}
	return u, ok
}
