package dataset

import "github.com/vaultpack/vaultpack/internal/objects"

// Plan is the same dataset for a dry run: what is written to it is counted and
// dropped, see [vault.Vault.Plan]. It has data keys of its own to wipe.
func (d *Dataset) Plan() *Dataset {
	if !d.usable() {
		return &Dataset{} // of which every use is an error
	}
	return of(objects.NewSet(d.set().Vault.Plan(), d.Name))
}
