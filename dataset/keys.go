package dataset

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
)

// Keyrings reads the keyrings of the dataset, in the order of their key IDs. They
// say which keys claim to open the dataset, and prove nothing.
func (d *Dataset) Keyrings(ctx context.Context) ([]*envelope.Keyring, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	var rings []*envelope.Keyring
	for o, err := range d.set().Vault.List(ctx, d.Name+"/keys/") {
		if err != nil {
			return nil, fmt.Errorf("listing the keyrings: %w", err)
		}
		id, err := envelope.ParseKeyID(strings.TrimSuffix(path.Base(o.Name), ".json"))
		if err != nil || d.set().KeyName(id) != o.Name {
			continue
		}
		ring, err := d.set().Keyring(ctx, id)
		if err != nil {
			return nil, err
		}
		rings = append(rings, ring)
	}
	if len(rings) == 0 {
		return nil, fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
	}
	return rings, nil
}

// Rotate makes a data key for what is uploaded from now on. It commits a version
// that holds what the last one held, sealed under the new key: the chain of
// versions is authentic, so nobody can lead later uploads back to the old key by
// replaying a keyring. Older packs stay under theirs, and readable.
//
// Like an upload it holds a [Lease], and its errors are those of Commit.
func (d *Dataset) Rotate(ctx context.Context) (*Version, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	l, err := d.Lease(ctx, "rotate")
	if err != nil {
		return nil, err
	}
	defer l.abandon()
	v, err := l.rotate(l.Context())
	err = l.because(err)
	if end := l.End(ctx); end != nil && err == nil {
		return v, fmt.Errorf("version %d was created under the new key, but: %w", v.Number, end)
	}
	return v, err
}

func (l *Lease) rotate(ctx context.Context) (*Version, error) {
	d, latest := l.dataset, l.prev
	if latest == nil {
		return nil, fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
	}
	// Who cannot read the old data must not become the owner of the new key.
	if _, err := d.set().Key(ctx, latest.KeyID); err != nil {
		return nil, err
	}
	key, err := l.NewKey(ctx)
	if err != nil {
		return nil, err
	}
	v, err := l.Commit(ctx, key, latest.Parts, latest.Totals, nil)
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrCollected) {
		// Nothing names the new key. After any other error a version might, whose
		// commit was not answered, and then its keyring is all that opens it; if none
		// does, a Collection removes the keyring.
		return nil, errors.Join(err, d.set().Vault.Delete(context.WithoutCancel(ctx), d.set().KeyName(key.ID())))
	}
	return v, err
}
