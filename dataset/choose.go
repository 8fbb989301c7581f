package dataset

import (
	"context"

	"github.com/vaultpack/vaultpack/internal/objects"
)

// A Choice chooses a version. Its zero value is the newest.
type Choice struct {
	Number int64 // 0 is the newest
	// AtLeast is the number of a version that the caller knows to have been there; 0
	// where it knows none. A vault whose newest version is older was rolled back.
	AtLeast int64
}

// A RollbackError says that the newest version of a dataset is older than one that has
// been there. It wraps envelope.ErrAuthentication.
type RollbackError = objects.RollbackError

// An UntrustedError says that a version is none of the dataset that the reader knows,
// though its signature is right. It wraps envelope.ErrAuthentication.
type UntrustedError = objects.UntrustedError

// Choose reads the version that is chosen. It returns a *[RollbackError] where the vault
// was rolled back, whichever version is asked for. What it looks for and what it reads
// come from one list: a vault cannot show one to the check, and another to the reader.
func (d *Dataset) Choose(ctx context.Context, c Choice) (*Version, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	if c.Number != 0 && c.AtLeast <= 0 {
		return d.Version(ctx, c.Number)
	}
	all, err := d.set().Numbers(ctx)
	if err != nil {
		return nil, err
	}
	newest := append([]int64{0}, all.Versions()...)
	if n := newest[len(newest)-1]; n < c.AtLeast {
		return nil, &RollbackError{Dataset: d.Name, Newest: n, AtLeast: c.AtLeast}
	}
	if c.Number != 0 {
		return d.Version(ctx, c.Number)
	}
	return d.newest(ctx, all)
}
