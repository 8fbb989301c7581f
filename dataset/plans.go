package dataset

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// An OpenPlanError reports that workers may be at a plan, so that nothing of the dataset can
// be removed. It wraps ErrBusy.
type OpenPlanError struct {
	Dataset, Plan string
	// Made is when the plan was made, by the clock of the vault.
	Made time.Time
}

func (e *OpenPlanError) Error() string {
	return fmt.Sprintf("nothing is deleted from dataset %q: the plan %s/%s, of %s, was neither committed nor given up", e.Dataset, e.Dataset, e.Plan, e.Made.UTC().Format(time.RFC3339))
}

func (e *OpenPlanError) Unwrap() error { return ErrBusy }

// openPlan returns an *OpenPlanError if one of the plans is open.
func (d *Dataset) openPlan(plans []objects.PlanObjects) error {
	for _, p := range plans {
		if p.Open() {
			return &OpenPlanError{Dataset: d.Name, Plan: p.ID, Made: p.Made}
		}
	}
	return nil
}

// plans returns what is to be removed of plans that have ended. If one is open, it ends
// it, or returns an *OpenPlanError.
func (c *collection) plans(ctx context.Context, d *Dataset, limit time.Time) (old []vault.Object, err error) {
	plans, err := d.set().Plans(ctx)
	if err != nil {
		return nil, err
	}
	if !c.EndUploads {
		if err := d.openPlan(plans); err != nil {
			return nil, err
		}
	}
	for _, p := range plans {
		if p.Open() && !c.DryRun {
			if err := d.set().EndPlan(ctx, p.ID); err != nil {
				return nil, err
			}
		}
		end := d.set().EndName(p.ID)
		var mark []vault.Object
		for _, o := range p.Objects {
			switch {
			case p.Open(), !p.Ended.IsZero() && p.Ended.After(limit), p.Ended.IsZero() && o.Modified.After(limit):
				c.young++ // a worker may be reading it
			case o.Name == end:
				mark = append(mark, o)
			default:
				old = append(old, o)
			}
		}
		old = append(old, mark...) // last, so that what is left of the plan stays ended
	}
	return old, nil
}

// stillClosed returns an error if a plan has been made since the collection began. It
// is called when no lease is left that a plan could be made under.
func (c *collection) stillClosed(ctx context.Context, d *Dataset) error {
	plans, err := d.set().Plans(ctx)
	if err != nil || c.DryRun {
		return err
	}
	return d.openPlan(plans)
}

// Plans returns the IDs of the dataset's plans that have not ended.
func (d *Dataset) Plans(ctx context.Context) ([]string, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	plans, err := d.set().Plans(ctx)
	if err != nil {
		return nil, err
	}
	plans = slices.DeleteFunc(plans, func(p objects.PlanObjects) bool { return !p.Open() })
	ids := make([]string, len(plans))
	for i, p := range plans {
		ids[i] = p.ID
	}
	return ids, nil
}
