package dataset

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/vault"
)

// Plan is the same dataset for a dry run: what is written to it is counted and
// dropped, see [vault.Vault.Plan]. It has data keys of its own to wipe.
func (d *Dataset) Plan() *Dataset {
	if !d.usable() {
		return &Dataset{openKeys: newOpenKeys()} // of which every use is an error
	}
	return &Dataset{Name: d.Name, vault: d.vault.Plan(), openKeys: newOpenKeys()}
}

// planned reports whether what is written is dropped.
func (d *Dataset) planned() bool {
	_, ok := vault.As[vault.Planner](d.vault.Store)
	return ok
}

// PlanPack counts a pack of size bytes of plaintext, in a planned dataset, and
// makes up an object for it that takes as much room in an index as a real one.
func (d *Dataset) PlanPack(ctx context.Context, key *envelope.DataKey, size int64) (tree.Object, error) {
	if err := d.begin(ctx); err != nil {
		return tree.Object{}, err
	}
	planned, ok := vault.As[vault.Planner](d.vault.Store)
	if !ok {
		return tree.Object{}, errors.New("a pack was planned in a dataset that is no plan")
	}
	o := tree.Object{KeyID: key.ID()}
	rand.Read(o.ID[:])
	rand.Read(o.Pin.Digest[:])
	o.Pin.Size = envelope.SealedSize(size)
	return o, planned.PlanPut(ctx, d.PackName(o.ID), o.Pin.Size)
}
