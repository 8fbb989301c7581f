// Package dataset keeps named, versioned trees of files in a vault. It defines the
// layout of the objects, the index that says where each file is stored, and the
// version roots that make a set of objects a snapshot, and it lists, reads,
// compares and removes versions. The packages restore and verify below it restore a
// version and check it; package uploader makes versions.
//
// Everything that is read is authenticated before it is used. A version root
// pins the parts of its index, the parts pin the packs, and each object is
// bound to the dataset by its data key, so no object can be exchanged for
// another.
package dataset

import (
	"context"
	"errors"
	"fmt"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// Errors that callers branch on. ErrMissing means that an object that the
// dataset names was removed or shredded, by its owner or by someone else.
// ErrConflict means that another writer has made the version.
var (
	ErrUnknownDataset = objects.ErrUnknownDataset
	ErrUnknownVersion = objects.ErrUnknownVersion
	ErrMissing        = objects.ErrMissing
	ErrClosed         = objects.ErrClosed
	ErrConflict       = objects.ErrConflict
)

// ErrCollected is returned by an upload if its lease, or another object that it
// relied on, was removed from the vault in the meantime. Running the same upload
// again succeeds.
var ErrCollected = errors.New("objects that this upload relied on were deleted from the vault while it was running; vaultpack gc does this when an upload was suspended")

// A Dataset is a dataset in a vault. It is safe for concurrent use.
type Dataset struct {
	Name string

	access
}

// access gives vaultpack's own packages the objects, which users do not see.
type access = objects.Handle

func (d *Dataset) set() *objects.Set { return objects.Of(&d.access) }

// of returns the dataset of a set of objects.
func of(s *objects.Set) *Dataset {
	d := &Dataset{}
	if s != nil {
		d.Name = s.Name
	}
	objects.Bind(d, s)
	return d
}

// Open returns the dataset with the given name, which need not exist yet.
func Open(v *vault.Vault, name string) (*Dataset, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	d := of(objects.NewSet(v, name))
	if !d.usable() {
		return nil, errNoVault
	}
	return d, nil
}

// Vault returns the vault that the dataset is in.
func (d *Dataset) Vault() *vault.Vault {
	if !d.usable() {
		return nil
	}
	return d.set().Vault
}

// Key returns one of the dataset's data keys. It unwraps each key only once.
func (d *Dataset) Key(ctx context.Context, id envelope.KeyID) (*envelope.DataKey, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	return d.set().Key(ctx, id)
}

// PackName returns the name of a pack in the store.
func (d *Dataset) PackName(id envelope.ObjectID) string {
	if !d.usable() {
		return ""
	}
	return d.set().PackName(id)
}

// List returns the names of the datasets in the vault.
func List(ctx context.Context, v *vault.Vault) ([]string, error) {
	if err := given.Check(ctx, v != nil && v.Store != nil, errNoVault); err != nil {
		return nil, err
	}
	folders, err := v.Folders(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("listing the vault: %w", err)
	}
	var names []string
	for _, f := range folders {
		if CheckName(f) == nil {
			names = append(names, f)
		}
	}
	return names, nil
}

// CheckName returns an error unless name is valid for a dataset: 1 to 100 letters, digits,
// dots, hyphens and underscores, beginning with a letter or digit. Names are parts of
// object names, and the key service writes them to its audit log.
func CheckName(name string) error {
	if IsFolder(name) {
		return fmt.Errorf("%q is not a valid dataset name: vaultpack uses it for a folder of each dataset", name)
	}
	ok := name != "" && len(name) <= 100
	for i, c := range []byte(name) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		ok = ok && (alnum || i > 0 && (c == '-' || c == '_' || c == '.'))
	}
	if !ok {
		return fmt.Errorf("%q is not a valid dataset name: use 1 to 100 letters, digits, dots, hyphens and underscores, starting with a letter or digit", name)
	}
	return nil
}

// IsFolder reports whether name is the name of one of a dataset's folders. No dataset or
// job can have such a name, so a policy for the packs of all datasets applies to nothing
// but packs.
func IsFolder(name string) bool {
	switch name {
	case "keys", "versions", "index", "packs", "pending", "plans":
		return true
	}
	return false
}

// Close wipes the data keys. Operations in progress, including those in other
// goroutines, return an error, and every later use returns [ErrClosed].
func (d *Dataset) Close() {
	if d != nil && d.set() != nil {
		d.set().Close()
	}
}
