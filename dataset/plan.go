package dataset

import "github.com/vaultpack/vaultpack/internal/objects"

// Plan returns the same dataset for a dry run: writes are counted and
// discarded (see [vault.Vault.Plan]). It has its own copies of the data keys
// and must be closed.
func (d *Dataset) Plan() *Dataset {
	if !d.usable() {
		return &Dataset{} // of which every use is an error
	}
	return of(objects.NewSet(d.set().Vault.Plan(), d.Name))
}
