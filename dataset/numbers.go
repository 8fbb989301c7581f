package dataset

import (
	"context"
	"fmt"
	"slices"

	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// newest reads the newest version. It returns ErrUnknownDataset if there is none.
func (d *Dataset) newest(ctx context.Context, all objects.Numbers) (*Version, error) {
	for _, t := range slices.Backward(all) {
		if t.Mark == "" {
			return d.Version(ctx, t.Number)
		}
		if err := d.checkMark(ctx, t); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
}

// checkMark reads a mark, so that what is only cut to its size is not taken for one.
func (d *Dataset) checkMark(ctx context.Context, t objects.Taken) error {
	b, err := d.set().Get(ctx, d.set().VersionName(t.Number), codec.MaxRoot)
	if err == nil && string(b) != t.Mark {
		_, err = d.parseVersion(ctx, t.Number, b)
		if err == nil {
			err = fmt.Errorf("it is not what the vault lists: %w", ErrConflict)
		}
		err = fmt.Errorf("%s: %w", d.set().VersionName(t.Number), objects.Tampered(err))
	}
	return d.damaged(t.Number, err)
}

// marked says why a number that has a mark is no version.
func (d *Dataset) marked(number int64, mark string) error {
	if mark == codec.RemovedMark {
		return fmt.Errorf("version %d of dataset %q was removed: %w", number, d.Name, ErrUnknownVersion)
	}
	return fmt.Errorf("number %d of dataset %q was closed by a collection: %w", number, d.Name, ErrUnknownVersion)
}

// Versions gives the numbers of the versions in the vault, in order. Numbers that
// were removed or closed are not among them. The list is the vault's word: whoever
// may delete objects may shorten it.
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

// RemoveVersion removes a version, and keeps its number from being given out again.
// The objects that no other version names are left to a Collection. The newest
// version stays: it is what the next upload goes on from.
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
	// Were the number free again, an upload that has slept since before the version
	// was made could commit under it, and nothing would know what it names.
	if err := d.set().PutMark(ctx, number, codec.RemovedMark); err != nil {
		return fmt.Errorf("removing version %d: %w", number, err)
	}
	return nil
}
