package dataset

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
)

// Keyrings reads the keyrings of the dataset, in the order of their key IDs. They
// say which keys claim to open the dataset, and prove nothing.
func (d *Dataset) Keyrings(ctx context.Context) ([]*envelope.Keyring, error) {
	var rings []*envelope.Keyring
	for o, err := range d.vault.List(ctx, d.Name+"/keys/") {
		if err != nil {
			return nil, fmt.Errorf("listing the keyrings: %w", err)
		}
		id, err := envelope.ParseKeyID(strings.TrimSuffix(path.Base(o.Name), ".json"))
		if err != nil || d.keyName(id) != o.Name {
			continue
		}
		ring, err := d.keyring(ctx, id)
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

// keyring reads one keyring. Its encoding is the object: there is one only.
func (d *Dataset) keyring(ctx context.Context, id envelope.KeyID) (*envelope.Keyring, error) {
	b, err := d.get(ctx, d.keyName(id), 64<<10)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	ring, err := envelope.ParseKeyring(b)
	if err == nil && ring.ID() != id {
		err = envelope.ErrAuthentication
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.keyName(id), tampered(err))
	}
	return ring, nil
}

// changeKeyrings stores, for each of the dataset's keyrings, what change makes of
// it; nil leaves it as it is. Each is one conditional
// write, so of two changes at once one is told to try again; readers see the
// keyring before or after it. It tells how many were changed.
func (d *Dataset) changeKeyrings(ctx context.Context, change func(*envelope.Keyring) (*envelope.Keyring, error)) (changed int, err error) {
	rings, err := d.Keyrings(ctx)
	if err != nil {
		return 0, err
	}
	for _, ring := range rings {
		next, err := change(ring)
		if err != nil {
			return changed, err
		}
		if next == nil {
			continue
		}
		if err := d.vault.Replace(ctx, d.keyName(ring.ID()), ring.Bytes(), next.Bytes()); err != nil {
			return changed, fmt.Errorf("storing the keyring: %w", err)
		}
		changed++
	}
	return changed, nil
}

// AddSlot wraps the dataset's data keys for one more key. A keyring that has a
// slot for it already stays as it is.
func (d *Dataset) AddSlot(ctx context.Context, w envelope.KeyWrapper) (changed int, err error) {
	return d.changeKeyrings(ctx, func(ring *envelope.Keyring) (*envelope.Keyring, error) {
		key, err := d.Key(ctx, ring.ID())
		if err != nil {
			return nil, err
		}
		next, err := ring.Add(ctx, d.context(), key, w)
		if err != nil {
			return nil, err
		}
		slots := next.Slots()
		added := slots[len(slots)-1]
		for _, s := range slots[:len(slots)-1] {
			if s.Kind == added.Kind && s.Key == added.Key {
				return nil, nil
			}
		}
		return next, nil
	})
}

// ErrNoSuchSlot is returned for a slot that none of the keyrings has.
var ErrNoSuchSlot = errors.New("no keyring of the dataset has such a slot")

// RemoveSlot removes the slots of one key, named by the kind and key of the slot.
func (d *Dataset) RemoveSlot(ctx context.Context, kind, key string) (changed int, err error) {
	changed, err = d.changeKeyrings(ctx, func(ring *envelope.Keyring) (*envelope.Keyring, error) {
		// Only who can open it may say who cannot any more.
		if _, err := d.Key(ctx, ring.ID()); err != nil {
			return nil, err
		}
		return without(ring, kind, key)
	})
	if err == nil && changed == 0 {
		err = fmt.Errorf("%s %s: %w", kind, key, ErrNoSuchSlot)
	}
	return changed, err
}

// Rewrap puts a slot for another key in the place of that of one key. The data
// keys stay, and so does all that is sealed under them. Whoever had the old key
// and the old keyring can still open them: it is no revocation.
func (d *Dataset) Rewrap(ctx context.Context, kind, key string, to envelope.KeyWrapper) (changed int, err error) {
	changed, err = d.changeKeyrings(ctx, func(ring *envelope.Keyring) (*envelope.Keyring, error) {
		i, err := slotOf(ring, kind, key)
		if err != nil {
			return nil, nil
		}
		next, err := d.reEncrypt(ctx, ring, i, to)
		if err == nil {
			return next, nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
		dataKey, err := d.Key(ctx, ring.ID())
		if err != nil {
			return nil, err
		}
		next, err = ring.Add(ctx, d.context(), dataKey, to)
		if err != nil {
			return nil, err
		}
		return without(next, kind, key)
	})
	if err == nil && changed == 0 {
		err = fmt.Errorf("%s %s: %w", kind, key, ErrNoSuchSlot)
	}
	return changed, err
}

// reEncrypt moves a slot from one key of AWS KMS to another of its Region with one
// call, in which nobody sees the data key. Where that is not possible the error
// wraps errors.ErrUnsupported.
func (d *Dataset) reEncrypt(ctx context.Context, ring *envelope.Keyring, i int, to envelope.KeyWrapper) (*envelope.Keyring, error) {
	target, ok := to.(*awskms.Key)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	for _, w := range d.vault.Keys.Open {
		from, ok := w.(*awskms.Key)
		if !ok {
			continue
		}
		next, err := ring.Move(d.context(), i, func(slot envelope.Slot, ec envelope.EncryptionContext) (envelope.Slot, error) {
			return from.Rewrap(ctx, slot, ec, target, ec)
		})
		var kerr *awskms.Error
		if errors.Is(err, envelope.ErrNoSlot) || errors.As(err, &kerr) && kerr.Reason == awskms.WrongRegion {
			continue
		}
		return next, err
	}
	return nil, errors.ErrUnsupported
}

func slotOf(ring *envelope.Keyring, kind, key string) (int, error) {
	for i, s := range ring.Slots() {
		if s.Kind == kind && s.Key == key {
			return i, nil
		}
	}
	return 0, ErrNoSuchSlot
}

// without is the keyring without the slot, or nil if it has none.
func without(ring *envelope.Keyring, kind, key string) (*envelope.Keyring, error) {
	i, err := slotOf(ring, kind, key)
	if err != nil {
		return nil, nil
	}
	return ring.Remove(i)
}

// Rotate makes a data key for what is uploaded from now on. It commits a version
// that holds what the last one held, sealed under the new key: the chain of
// versions is authentic, so nobody can lead later uploads back to the old key by
// replaying a keyring. Older packs stay under theirs, and readable.
func (d *Dataset) Rotate(ctx context.Context) (*Version, error) {
	latest, err := d.Latest(ctx)
	if err != nil {
		return nil, err
	}
	// Who cannot read the old data must not become the owner of the new key.
	if _, err := d.Key(ctx, latest.KeyID); err != nil {
		return nil, err
	}
	key, err := d.NewKey(ctx)
	if err != nil {
		return nil, err
	}
	v, err := d.Commit(ctx, key, latest, latest.Parts, latest.Totals)
	if err != nil {
		// Nothing names the new key yet.
		return nil, errors.Join(err, d.vault.Delete(context.WithoutCancel(ctx), d.keyName(key.ID())))
	}
	return v, nil
}

// Shred deletes the dataset's keyrings, and so makes all of it unreadable that is
// in the vault. It tells how many keyrings are gone.
func (d *Dataset) Shred(ctx context.Context) (deleted int, err error) {
	for o, err := range d.vault.List(ctx, d.Name+"/keys/") {
		if err != nil {
			return deleted, fmt.Errorf("listing the keyrings: %w", err)
		}
		if err := d.vault.Delete(ctx, o.Name); err != nil {
			return deleted, fmt.Errorf("deleting a keyring: %w", err)
		}
		deleted++
	}
	return deleted, nil
}

// OldKeyrings tells how many old versions of keyrings the vault's bucket keeps,
// each of which still opens what is sealed under it. A directory keeps none.
func (d *Dataset) OldKeyrings(ctx context.Context) (int, error) {
	if s, ok := d.vault.Store.(interface {
		CountOld(ctx context.Context, prefix string) (int, error)
	}); ok {
		return s.CountOld(ctx, d.Name+"/keys/")
	}
	return 0, nil
}

// ShredOld deletes those old versions, for good, and tells how many are gone.
func (d *Dataset) ShredOld(ctx context.Context) (deleted int, err error) {
	if s, ok := d.vault.Store.(interface {
		DeleteOld(ctx context.Context, prefix string) (int, error)
	}); ok {
		return s.DeleteOld(ctx, d.Name+"/keys/")
	}
	return 0, nil
}
