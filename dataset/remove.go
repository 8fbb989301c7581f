package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// RemoveOptions configure [Dataset.Remove].
type RemoveOptions struct {
	// EndUploads removes the dataset even if an upload is in progress, which then fails.
	EndUploads bool
}

// A RemoveResult is the result of [Dataset.Remove], or how far it came before an error.
type RemoveResult struct {
	// Deleted counts the deleted objects. Closed holds the numbers that stay
	// closed, because an upload that has not ended might commit under them.
	Deleted int
	Closed  []int64
}

// Remove removes the whole dataset: the versions first, newest first, so that no reader
// finds an incomplete one, and the keyrings before the numbers. It returns a
// [*BusyError] if an upload is in progress, and [ErrUnknownDataset] if there is nothing.
func (d *Dataset) Remove(ctx context.Context, opts RemoveOptions) (RemoveResult, error) {
	if err := d.begin(ctx); err != nil {
		return RemoveResult{}, err
	}
	if !opts.EndUploads {
		if err := d.Busy(ctx); err != nil {
			return RemoveResult{}, err
		}
	}
	r := &removal{}
	err := r.run(ctx, d)
	return r.RemoveResult, err
}

// A removal is one run of Remove.
type removal struct{ RemoveResult }

func (r *removal) run(ctx context.Context, d *Dataset) error {
	// What is listed now is removed. An upload that begins after the versions are gone
	// makes other objects.
	if err := r.endPlans(ctx, d); err != nil {
		return err
	}
	var names []string
	for _, folder := range []string{"pending", "index", "packs", "keys", "plans"} {
		for o, err := range d.set().Vault.List(ctx, d.Name+"/"+folder+"/") {
			if err != nil {
				return fmt.Errorf("listing the vault: %w", err)
			}
			names = append(names, o.Name)
		}
	}
	left, err := d.unfinished(ctx)
	if err != nil {
		return err
	}
	all, err := d.set().Numbers(ctx)
	if err != nil {
		return err
	}
	if len(names)+len(all) == 0 {
		return fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
	}
	if all, err = r.versions(ctx, d, all); err != nil {
		return err
	}
	for _, name := range names {
		if err := d.set().Vault.Delete(ctx, name); err != nil {
			return fmt.Errorf("removing %s: %w", name, err)
		}
		r.Deleted++
	}
	if err := r.numbers(ctx, d, all, left); err != nil {
		return err
	}
	if _, err = d.set().SweepOlder(ctx, 0); err != nil {
		return err
	}
	return d.set().Forget(ctx)
}

// endPlans ends the plans that are open: no commit that begins from now on uses the packs
// that are removed. Their marks are removed last.
func (r *removal) endPlans(ctx context.Context, d *Dataset) error {
	plans, err := d.set().Plans(ctx)
	if err != nil {
		return err
	}
	for _, p := range plans {
		if p.Open() {
			if err := d.set().EndPlan(ctx, p.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// versions replaces each version by a mark, and closes a number, so that neither uploads
// that continue from the versions nor those that began before can commit.
func (r *removal) versions(ctx context.Context, d *Dataset, all objects.Numbers) (objects.Numbers, error) {
	for _, t := range slices.Backward(all) {
		if t.Mark == "" {
			if err := d.set().PutMark(ctx, t.Number, codec.RemovedMark); err != nil {
				return nil, fmt.Errorf("removing version %d: %w", t.Number, err)
			}
		}
	}
	next := all.Highest() + 1
	err := d.set().Vault.Create(ctx, d.set().VersionName(next), []byte(codec.ClosedMark))
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("dataset %q is being removed, and version %d was created meanwhile: %w; run the same command again", d.Name, next, ErrConflict)
	}
	if err != nil {
		return nil, fmt.Errorf("closing number %d: %w", next, err)
	}
	return append(slices.Clone(all), objects.Taken{Number: next, Mark: codec.ClosedMark}), nil
}

// numbers frees the numbers, except for those of unfinished uploads.
func (r *removal) numbers(ctx context.Context, d *Dataset, all objects.Numbers, left *unfinished) error {
	now, err := d.unfinished(ctx)
	if err != nil {
		return err
	}
	for _, t := range slices.Backward(all) {
		// The highest number stays if an upload may be in progress: numbers given out
		// from now on must be above it.
		asleep := func(l pendingObject) bool { return l.Number == t.Number || t.Number == all.Highest() }
		if slices.ContainsFunc(left.leases, asleep) || slices.ContainsFunc(now.leases, asleep) {
			r.Closed = append(r.Closed, t.Number)
			continue
		}
		if err := d.set().Vault.Delete(ctx, d.set().VersionName(t.Number)); err != nil {
			return fmt.Errorf("removing number %d: %w", t.Number, err)
		}
		if t.Number < all.Highest() { // the highest one was made for the removal
			r.Deleted++
		}
	}
	return nil
}
