package dataset

import (
	"context"
	"fmt"
	"slices"

	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// Versions returns the numbers of the versions in the vault, in order, without
// numbers that were removed or closed. The list is not authenticated: anyone who
// may delete objects can shorten it.
func (d *Dataset) Versions(ctx context.Context) ([]int64, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	all, err := d.set().Numbers(ctx)
	if err != nil {
		return nil, err
	}
	return all.Versions(), nil
}

// Latest reads the newest version. It returns ErrUnknownDataset if there is none.
func (d *Dataset) Latest(ctx context.Context) (*Version, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	all, err := d.set().Numbers(ctx)
	if err != nil {
		return nil, err
	}
	return d.newest(ctx, all)
}

// newest reads the newest version of a list.
func (d *Dataset) newest(ctx context.Context, all objects.Numbers) (*Version, error) {
	r, err := d.set().Newest(ctx, all)
	if err != nil {
		return nil, d.set().Because(err)
	}
	return versionOf(d.set(), r), nil
}

// RemoveVersion removes a version. Its number is not used again. A collection
// removes the objects that no other version names. The newest version cannot be
// removed, since the next upload continues from it.
func (d *Dataset) RemoveVersion(ctx context.Context, number int64) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	versions, err := d.Versions(ctx)
	if err != nil {
		return err
	}
	switch at := slices.Index(versions, number); {
	case len(versions) == 0:
		return fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
	case at < 0:
		return fmt.Errorf("version %d of dataset %q: %w", number, d.Name, ErrUnknownVersion)
	case at == len(versions)-1:
		return fmt.Errorf("version %d is the newest of dataset %q, which can be removed only if it is damaged: create another version first, or remove the whole dataset", number, d.Name)
	}
	// If the number were free again, an upload that has been asleep since before the
	// version was made could commit under it, and nothing would know what it names.
	if err := d.set().PutMark(ctx, number, codec.RemovedMark); err != nil {
		return fmt.Errorf("removing version %d: %w", number, err)
	}
	return nil
}
