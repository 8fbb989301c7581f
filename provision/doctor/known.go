package doctor

import (
	"context"
	"fmt"
	"syscall"
)

// known checks the place where versions and signers that were seen are remembered.
// Without it every use of a dataset is a first contact, and an older vault in place of
// this one is not noticed.
func (d *doctor) known(context.Context) Finding {
	dir, err := d.Config.Remembered()
	if err != nil {
		return failed("set HOME, XDG_STATE_HOME or VAULTPACK_HOME", "there is no folder to remember datasets in: %v", err)
	}
	all, err := dir.List()
	if err != nil {
		return failed("remove what cannot be used with: vaultpack trust forget DATASET; or restore it from a backup", "%v", err)
	}
	n := 0
	for _, r := range all {
		if r.Vault == dir.Vault {
			n++
		}
	}
	at, err := nearest(dir.Path)
	if err == nil {
		err = syscall.Access(at, 2) // W_OK
	}
	if err != nil {
		return warning("set XDG_STATE_HOME to a folder of your own, or pin what you trust with --digest, or signers and pins in vaultpack.yaml",
			"nothing can be remembered in %s (%v), so an older or exchanged dataset may not be noticed", dir.Path, err)
	}
	of := "no dataset of this vault is known yet: the first use of each is a first contact"
	if n > 0 {
		of = "known of this vault: " + plural(n, "dataset")
	}
	if r, err := dir.Record(d.Dataset); d.Dataset != "" && err == nil && r != nil {
		of += fmt.Sprintf("; the newest version seen of %s is %d", d.Dataset, r.Number)
	} else if d.Dataset != "" && err == nil && n > 0 {
		of += fmt.Sprintf("; not %s", d.Dataset)
	}
	return ok("what was seen of datasets is remembered in %s; %s", dir.Path, of)
}
