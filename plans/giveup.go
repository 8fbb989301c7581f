package plans

import (
	"context"
	"fmt"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// GiveUp ends a plan without a version: its workers end in vain, and a later collection
// removes what they have made. Giving up a plan that has ended does nothing.
func GiveUp(ctx context.Context, d *dataset.Dataset, r Reference) error {
	if err := given.Check(ctx, d != nil && d.Vault() != nil, errNoDataset); err != nil {
		return err
	}
	plans, err := objects.Of(d).Plans(ctx)
	if err != nil {
		return err
	}
	for _, p := range plans {
		if p.ID == r.ID && r.Dataset == d.Name && !p.Made.IsZero() {
			return objects.Of(d).EndPlan(ctx, r.ID)
		}
	}
	return fmt.Errorf("plan %s of dataset %q: %w", r.ID, r.Dataset, ErrNoPlan)
}
