// Package rekey gives a dataset a new data key, and reseals under it what is sealed
// under older ones.
package rekey

import (
	"context"
	"errors"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// Rotate makes a new data key for later uploads. It commits a version with the
// same contents as the last one, whose own objects are sealed under the new key:
// the chain of versions is authentic, so nobody can lead later uploads back to
// the old key by replaying a keyring. Older packs stay sealed under their keys,
// and readable.
//
// Like an upload, it returns [dataset.ErrConflict] if another writer has made a version
// in the meantime, and [dataset.ErrCollected] if a collection has ended it.
func Rotate(ctx context.Context, d *dataset.Dataset) (*dataset.Version, error) {
	return commit.Change(ctx, d, "rotate", "under the new key", func(ctx context.Context, l *commit.Lease) (*dataset.Version, error) { return rotate(ctx, d, l) })
}

func rotate(ctx context.Context, d *dataset.Dataset, l *commit.Lease) (*dataset.Version, error) {
	latest := l.Previous()
	// A caller who cannot read the old data must not become the owner of the new key.
	if _, err := objects.Of(d).Key(ctx, latest.KeyID); err != nil {
		return nil, err
	}
	key, err := l.Rotate(ctx)
	if err != nil {
		return nil, err
	}
	v, err := l.Commit(ctx, key, commit.Same(latest))
	if errors.Is(err, dataset.ErrConflict) || errors.Is(err, dataset.ErrCollected) {
		// Nothing names the new key. After any other error a version might name it, if
		// the response to its commit was lost, and then the keyring is the only thing
		// that opens it. If no version does, a collection removes the keyring.
		return nil, errors.Join(err, objects.Of(d).Vault.Delete(context.WithoutCancel(ctx), objects.Of(d).KeyName(key.ID())))
	}
	return v, err
}
