// Package vault is the place where datasets live, as a [Store] of objects, and the
// keys that open them. Here is the store in a directory; package vault/s3 has the one
// in a bucket, and package config opens what the user has configured. The layout
// below a dataset's name is package dataset's matter.
package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trust"
)

// A Vault is an opened vault.
type Vault struct {
	Store
	// Location is the vault's URL or absolute directory.
	Location string
	Keys     *Keys
	// Context is the user's part of the encryption context.
	Context envelope.EncryptionContext
	// Signer signs the versions that are made. Where it is nil, what OpenSigner returns
	// does, and where that is nil too, the key that is derived from the first local key
	// of Keys; a vault with none of them is read only.
	Signer signing.Signer
	// OpenSigner gives the signing key when it is first needed, and makes it if create is
	// set and there is none. The error then wraps [ErrNoSigner] if it is not set.
	OpenSigner func(ctx context.Context, create bool) (signing.Signer, error)
	// Trust is what the user knows of the vault's datasets. Where it is nil, nothing is
	// known and nothing is remembered.
	Trust trust.Memory
}

// Keys are the key encryption keys of a vault's user.
type Keys struct {
	// Open opens data keys: any one that has a slot.
	Open []envelope.KeyWrapper
	// Wrap are the keys that new data keys get slots for; the first makes them.
	Wrap []envelope.KeyWrapper
	// Names tell where the keys of Open are, for people: names of files, and ARNs.
	Names []string
	// Calls tells how many calls the keys have made to a key service that bills
	// them; nil where none does.
	Calls func() int64
}

// ErrNoVault is returned for a directory that is no vault.
var ErrNoVault = errors.New("there is no vault")

const (
	markerName = "vaultpack-vault.json"
	marker     = `{"format":"vaultpack-vault/1"}` + "\n"
)

// CheckDir looks whether the directory is a vault. If not, the error is [ErrNoVault].
func CheckDir(dir string) error {
	b, err := fsys.ReadSmall(filepath.Join(dir, markerName), 4096)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return ErrNoVault
	}
	if err != nil {
		return fmt.Errorf("opening the vault: %w", err)
	}
	if string(b) != marker {
		return fmt.Errorf("%s: %w", filepath.Join(dir, markerName), envelope.ErrAuthentication)
	}
	return nil
}

// MarkDir makes a vault of the directory that the store is in, and reports whether it
// was none before.
func MarkDir(ctx context.Context, dir Store) (made bool, err error) {
	err = dir.Create(ctx, markerName, []byte(marker))
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// Usage counts what a vault has asked of services that bill it.
type Usage struct {
	S3 Requests `json:"s3"`
	// KMSCalls are calls to AWS KMS, without the SDK's own repetitions.
	KMSCalls int64 `json:"kms_calls"`
}

// Usage tells what has been used so far, or in a plan, what a run would use; ok is
// false where nothing is billed.
func (v *Vault) Usage() (u Usage, ok bool) {
	store := v.Store
	plan, planned := As[*plannedStore](store)
	if planned {
		store = plan.Store
	}
	if s, metered := As[Metered](store); metered {
		u.S3, ok = s.Usage(), true
	}
	if v.Keys.Calls != nil {
		u.KMSCalls, ok = v.Keys.Calls(), true
	}
	if planned {
		u.S3 = plan.planned(u.S3)
		u.KMSCalls += plan.kmsCalls.Load()
	}
	return u, ok
}
