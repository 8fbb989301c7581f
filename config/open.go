package config

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// Open opens the configured vault. A directory must already be a vault, otherwise the
// error wraps [vault.ErrNoVault]. A vault in S3 is a bucket and a prefix, and need not
// be created; the first request shows whether the bucket can be used.
func Open(ctx context.Context, c *Config) (*vault.Vault, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, err
	}
	if err := there(c); err != nil {
		return nil, err
	}
	return open(ctx, c)
}

// there checks whether a directory is a vault.
func there(c *Config) error {
	if err := supported(c); err != nil || s3store.IsURL(c.Vault.Value) {
		return err
	}
	err := vault.CheckDir(c.Vault.Value)
	if errors.Is(err, vault.ErrNoVault) {
		return c.noVault(err)
	}
	return err
}

// OpenPublic is like Open, for callers that read only what needs no key. The
// vault's Keys holds those of the configured keys that can be read, and the result
// keys says why others cannot.
func OpenPublic(ctx context.Context, c *Config) (v *vault.Vault, keys, err error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, nil, err
	}
	if err := there(c); err != nil {
		return nil, nil, err
	}
	store, location, err := openStore(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	k, keys := ReadableKeys(ctx, c)
	return &vault.Vault{Store: store, Location: location, Keys: k, Context: c.Context, Trust: c.memory(location)}, keys, nil
}

// OpenForWriting is like Open, but creates the embedded default vault on its
// first use. created reports whether it did.
func OpenForWriting(ctx context.Context, c *Config) (v *vault.Vault, created bool, err error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, false, err
	}
	v, err = Open(ctx, c)
	if errors.Is(err, vault.ErrNoVault) && c.Default {
		return Init(ctx, c)
	}
	return v, false, err
}

// noVault says where no vault was found, and what to do.
func (c *Config) noVault(err error) error {
	if c.Default {
		return fmt.Errorf("%w yet at %s (%s): the first upload creates it", err, c.Vault.Value, c.Vault.Source)
	}
	return fmt.Errorf("%w at %s (from %s): check the path, or create one there with vaultpack init",
		err, c.Vault.Value, c.Vault.Source)
}

// Init creates the configured vault and its local key, or checks existing ones;
// created reports whether anything was created. It does not create buckets or KMS
// keys, nor a local key if KMS keys are configured.
func Init(ctx context.Context, c *Config) (v *vault.Vault, created bool, err error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, false, err
	}
	if err := supported(c); err != nil {
		return nil, false, err
	}
	if c, err = c.Resolved(ctx); err != nil {
		return nil, false, err
	}
	if !s3store.IsURL(c.Vault.Value) {
		if err := os.MkdirAll(c.Vault.Value, 0o755); err != nil {
			return nil, false, fmt.Errorf("making the vault: %w", err)
		}
	}
	store, _, err := openStore(ctx, c)
	if err != nil {
		return nil, false, err
	}
	// The key is made first, so that a vault with a marker has a key.
	if len(c.KMSKeys) == 0 {
		if created, err = ensureLocalKey(ctx, c, store); err != nil {
			return nil, false, err
		}
	}
	if s3store.IsURL(c.Vault.Value) {
		if _, err := store.Folders(ctx, ""); err != nil {
			return nil, false, fmt.Errorf("looking into the bucket: %w", err)
		}
	} else {
		made, err := vault.MarkDir(ctx, store)
		if err != nil {
			return nil, false, fmt.Errorf("making the vault: %w", err)
		}
		created = created || made
	}
	if v, err = open(ctx, c); err != nil {
		return nil, false, err
	}
	return v, created, nil
}

var errNoConfig = errors.New("config: a nil Config")

func supported(c *Config) error {
	if scheme, _, ok := strings.Cut(c.Vault.Value, "://"); ok && !s3store.IsURL(c.Vault.Value) {
		return fmt.Errorf("the vault %s (from %s): a vault is a directory or an s3:// URL, not %s://",
			c.Vault.Value, c.Vault.Source, scheme)
	}
	return nil
}

func open(ctx context.Context, c *Config) (*vault.Vault, error) {
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
	v := &vault.Vault{Store: store, Location: location, Keys: keys, Context: c.Context}
	c.setSigner(v)
	v.Trust = c.memory(location)
	return v, nil
}

// openStore opens the store of the objects.
func openStore(ctx context.Context, c *Config) (store vault.Store, location string, err error) {
	if s3store.IsURL(c.Vault.Value) {
		set := c.S3
		if set.SSE != s3store.SSENone {
			set.KMSKey = c.SSEKey()
		}
		store, err := s3store.Open(ctx, c.Vault.Value, set)
		if err != nil {
			return nil, "", err
		}
		return store, c.Vault.Value, nil
	}
	abs, err := filepath.Abs(c.Vault.Value)
	if err != nil {
		return nil, "", err
	}
	dir, err := vault.OpenDir(abs)
	if err != nil {
		return nil, "", fmt.Errorf("opening the vault: %w", err)
	}
	return dir, abs, nil
}

// BucketKey is the value of kmsKey that leaves encryption to a bucket, in [OpenBucket].
const BucketKey = "none"

// OpenBucket opens the bucket that an s3:// URI names, which need not be the vault's, with the
// endpoint, region, profile and limits that are configured. What is stored there is encrypted
// by S3 under kmsKey. If that is empty, it is the key under which S3 encrypts the vault, or
// the bucket's own if there is none. It sends no request to S3.
func OpenBucket(ctx context.Context, c *Config, uri, kmsKey string) (*s3store.Store, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, err
	}
	loc, err := s3store.ParseURL(uri)
	if err != nil {
		return nil, err
	}
	r, err := c.Resolved(ctx)
	if err != nil {
		return nil, err
	}
	if kmsKey == "" && s3store.IsURL(r.Vault.Value) {
		kmsKey = r.SSEKey()
	}
	set := r.S3
	set.SSE, set.KMSKey = "", kmsKey
	if kmsKey == "" || kmsKey == BucketKey {
		set.SSE, set.KMSKey = s3store.SSENone, ""
	}
	set.BucketOwner, set.StorageClass, set.Tags = "", "", nil // of the vault
	return s3store.Open(ctx, "s3://"+loc.Bucket, set)
}
