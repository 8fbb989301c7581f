// Package vault defines the place where datasets live: a [Store] of objects, and the
// keys that open them. It implements the store in a directory. Package vault/s3
// implements the store in a bucket, and package config opens the vault that the user
// has configured. Package dataset defines the layout below a dataset's name.
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
	// Signer signs new versions. If it is nil, the signer that OpenSigner returns signs
	// them. If OpenSigner is nil too, the key derived from the first local key of Keys
	// signs them. A vault with none of these is read only.
	Signer signing.Signer
	// OpenSigner returns the signing key when it is first needed. If there is none, it
	// returns an error that wraps [ErrNoSigner]. MakeSigner, if not nil, then makes one for
	// an upload.
	OpenSigner func(ctx context.Context) (signing.Signer, error)
	MakeSigner func(ctx context.Context) (signing.Signer, error)
	// Trust holds what the user knows about the vault's datasets. If it is nil,
	// nothing is known and nothing is remembered.
	Trust trust.Memory
}

// Keys are the key encryption keys of a vault's user.
type Keys struct {
	// Open holds the keys that open data keys. Any one of them that has a slot is enough.
	Open []envelope.KeyWrapper
	// Wrap holds the keys that new data keys get slots for. The first one makes the data
	// keys.
	Wrap []envelope.KeyWrapper
	// Names says where the keys of Open are, in readable form: file names and ARNs.
	Names []string
	// WrapNames does the same for the keys of Wrap: they can open new datasets.
	WrapNames []string
	// Calls returns how many billed calls the keys have made to a key service. It
	// is nil if no key makes such calls.
	Calls func() int64
}

// ErrNoVault is returned for a directory that is not a vault.
var ErrNoVault = errors.New("there is no vault")

const (
	markerName = "vaultpack-vault.json"
	marker     = `{"format":"vaultpack-vault/1"}` + "\n"
)

// CheckDir returns [ErrNoVault] if the directory is not a vault.
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

// MarkDir makes the store's directory a vault, and reports whether it was not a
// vault before.
func MarkDir(ctx context.Context, dir Store) (made bool, err error) {
	err = dir.Create(ctx, markerName, []byte(marker))
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// Usage counts a vault's requests to services that bill for requests.
type Usage struct {
	S3 Requests `json:"s3"`
	// KMSCalls counts calls to AWS KMS, without the SDK's own retries.
	KMSCalls int64 `json:"kms_calls"`
}

// Usage returns what has been used so far or, for a plan, what a run would use. ok
// is false if nothing is billed.
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
