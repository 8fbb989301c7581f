package dataset

import (
	"context"
	"errors"
	"fmt"

	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// Shred deletes the dataset's keyrings, including those for training jobs, and so makes all
// of its data in the vault unreadable. If one cannot be deleted, Shred still deletes the
// others. Afterwards it checks that none is left: an upload may have made one in the
// meantime, in which case the error says so. Shred returns how many keyrings it deleted.
func (d *Dataset) Shred(ctx context.Context) (deleted int, err error) {
	if err := d.begin(ctx); err != nil {
		return 0, err
	}
	names, err := d.keyObjects(ctx)
	if err != nil {
		return 0, err
	}
	var failed []error
	for _, name := range names {
		if err := d.set().Vault.Delete(ctx, name); err != nil {
			failed = append(failed, fmt.Errorf("deleting a keyring: %w", err))
			continue
		}
		deleted++
	}
	if len(failed) > 0 {
		return deleted, fmt.Errorf("%d of %d keyrings are still there: %w", len(failed), len(names), errors.Join(failed...))
	}
	left, err := d.keyObjects(ctx)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%s exists again: something is writing to the dataset; stop it, and shred again", left[0])
	}
	return deleted, err
}

// keyObjects returns the names of all objects that hold keyrings, including the copies
// for training jobs without network: each job has those of all datasets that it reads,
// below key/ in its folder.
func (d *Dataset) keyObjects(ctx context.Context) (names []string, err error) {
	folders := []string{d.Name + "/keys/"}
	trained, err := d.set().Vault.Folders(ctx, objects.JobsFolder)
	for _, on := range trained {
		var jobs []string
		if jobs, err = d.set().Vault.Folders(ctx, objects.JobsFolder+on+"/"); err != nil {
			break
		}
		for _, job := range jobs {
			folders = append(folders, objects.JobFolder(on, job)+"key/"+d.Name+"/keys/")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listing the keys of training jobs: %w", err)
	}
	for _, folder := range folders {
		for o, err := range d.set().Vault.List(ctx, folder) {
			if err != nil {
				return nil, fmt.Errorf("listing the keyrings: %w", err)
			}
			names = append(names, o.Name)
		}
	}
	return names, nil
}

// OldKeyrings returns how many old versions of keyrings the vault's store keeps. Each
// of them still opens what is sealed under it. A directory keeps none. If the store
// cannot determine this, the error wraps errors.ErrUnsupported.
func (d *Dataset) OldKeyrings(ctx context.Context) (int, error) {
	if err := d.begin(ctx); err != nil {
		return 0, err
	}
	s, err := d.versionKeeper()
	if err != nil {
		return 0, err
	}
	return s.CountOld(ctx, d.Name+"/keys/")
}

// ShredOld permanently deletes the versions that OldKeyrings counts, and returns how
// many it deleted.
func (d *Dataset) ShredOld(ctx context.Context) (deleted int, err error) {
	if err := d.begin(ctx); err != nil {
		return 0, err
	}
	s, err := d.versionKeeper()
	if err != nil {
		return 0, err
	}
	return s.DeleteOld(ctx, d.Name+"/keys/")
}

func (d *Dataset) versionKeeper() (vault.VersionKeeper, error) {
	s, ok := vault.As[vault.VersionKeeper](d.set().Vault.Store)
	if !ok {
		return nil, fmt.Errorf("the vault's store cannot tell whether it keeps old versions of keyrings, which would still open the dataset: %w", errors.ErrUnsupported)
	}
	return s, nil
}
