package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// ErrNoSuchSlot is returned for a slot that is in none of the keyrings.
var ErrNoSuchSlot = errors.New("no keyring of the dataset has this slot")

// changeKeyrings stores, for each of the dataset's keyrings, what change returns for it;
// nil leaves it unchanged. Each is one conditional write, so of two concurrent changes
// one fails with advice to try again; readers see either the old or the new keyring.
// What was stored is read back. If a keyring cannot be changed, the others still are;
// the error names each failure. It returns how many were changed.
func (d *Dataset) changeKeyrings(ctx context.Context, change func(*envelope.Keyring) (*envelope.Keyring, error)) (changed int, err error) {
	rings, err := d.Keyrings(ctx)
	if err != nil {
		return 0, err
	}
	var failed []error
	for _, ring := range rings {
		done, err := d.changeKeyring(ctx, ring, change)
		if done {
			changed++
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("keyring %s: %w", ring.ID(), d.set().Because(err)))
		}
		if ctx.Err() != nil {
			break
		}
	}
	err = errors.Join(failed...)
	if err != nil && changed > 0 {
		err = fmt.Errorf("%d of %d keyrings were changed, and then: %w", changed, len(rings), err)
	}
	return changed, err
}

func (d *Dataset) changeKeyring(ctx context.Context, ring *envelope.Keyring, change func(*envelope.Keyring) (*envelope.Keyring, error)) (done bool, err error) {
	next, err := change(ring)
	if err != nil || next == nil {
		return false, err
	}
	if err := d.set().Vault.Replace(ctx, d.set().KeyName(ring.ID()), ring.Bytes(), next.Bytes()); err != nil {
		return false, fmt.Errorf("storing it: %w", err)
	}
	got, err := d.set().Get(ctx, d.set().KeyName(ring.ID()), objects.MaxKeyring)
	if err != nil {
		return true, fmt.Errorf("it was stored, but cannot be read back: %w", err)
	}
	if !bytes.Equal(got, next.Bytes()) {
		return true, fmt.Errorf("it was stored, but reads back differently: someone else changed it, or the vault is broken; check with keys list, and try again")
	}
	return true, nil
}

// AddSlot wraps the dataset's data keys for one more key. A keyring that the key
// demonstrably opens already stays unchanged. A slot that claims to be the key's
// but was not shown to open, such as any slot for a recipient, is replaced by a new
// one: someone else may have added it.
func (d *Dataset) AddSlot(ctx context.Context, w envelope.KeyWrapper) (changed int, err error) {
	if err := d.begin(ctx); err != nil {
		return 0, err
	}
	return d.changeKeyrings(ctx, func(ring *envelope.Keyring) (*envelope.Keyring, error) {
		key, err := d.set().Key(ctx, ring.ID())
		if err != nil {
			return nil, err
		}
		opened, err := ring.Unwrap(ctx, d.set().Context(), w)
		if err == nil {
			opened.Wipe()
			if !hasTwice(ring, w) {
				return nil, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return ring.Add(ctx, d.set().Context(), key, w)
	})
}

// hasTwice reports whether two slots of the keyring name the key.
func hasTwice(ring *envelope.Keyring, w envelope.KeyWrapper) bool {
	if _, ok := w.(*envelope.Passphrase); ok {
		return false // each may be for a different passphrase
	}
	m, ok := w.(envelope.SlotMatcher)
	names := map[string]bool{}
	return ok && slices.ContainsFunc(ring.Slots(), func(s envelope.Slot) bool {
		seen := names[s.Key]
		names[s.Key] = true
		return seen && m.Matches(s)
	})
}

// RemoveSlot removes all slots of one key, given by the kind and key of the slot.
// One of the configured keys must be shown to open each keyring without them: a
// slot alone proves nothing. Afterwards RemoveSlot reads the keyrings again.
func (d *Dataset) RemoveSlot(ctx context.Context, kind, key string) (changed int, err error) {
	if err := d.begin(ctx); err != nil {
		return 0, err
	}
	changed, err = d.changeKeyrings(ctx, func(ring *envelope.Keyring) (*envelope.Keyring, error) {
		if !hasSlot(ring, kind, key) {
			return nil, nil
		}
		// Only a caller who can open it may remove the access of others.
		if _, err := d.set().Key(ctx, ring.ID()); err != nil {
			return nil, err
		}
		next, err := ring.Remove(kind, key)
		if err != nil {
			return nil, err
		}
		return next, d.opensWithout(ctx, next, kind, key)
	})
	if err == nil && changed == 0 {
		return 0, fmt.Errorf("%s %s: %w", kind, key, ErrNoSuchSlot)
	}
	return changed, errors.Join(err, d.noSlotLeft(ctx, err, kind, key))
}

// opensWithout checks that one of the configured keys opens the keyring.
func (d *Dataset) opensWithout(ctx context.Context, ring *envelope.Keyring, kind, key string) error {
	opened, err := ring.Unwrap(ctx, d.set().Context(), d.set().Vault.Keys.Open...)
	if err == nil {
		opened.Wipe()
		return nil
	}
	var none *envelope.NoKeyError
	if errors.As(err, &none) {
		return fmt.Errorf("%w: without %s %s, no known key opens it. Set a key that does, such as --identity FILE, "+
			"or replace this one with keys rewrap", ErrLastKey, kind, key)
	}
	return fmt.Errorf("cannot show that it opens without %s %s: %w", kind, key, err)
}

// ErrLastKey is returned for a removal after which possibly no key could open
// the dataset.
var ErrLastKey = errors.New("the slot is not removed")

// noSlotLeft checks whether a key has a slot again, since an upload may have made a new
// keyring in the meantime. after is an earlier error that would explain it.
func (d *Dataset) noSlotLeft(ctx context.Context, after error, kind, key string) error {
	if after != nil {
		return nil
	}
	rings, err := d.Keyrings(ctx)
	if err != nil {
		return fmt.Errorf("looking for what is left of the slots: %w", err)
	}
	for _, ring := range rings {
		if hasSlot(ring, kind, key) {
			return fmt.Errorf("keyring %s has a slot of %s %s again: someone else is changing the keyrings; try again", ring.ID(), kind, key)
		}
	}
	return nil
}

// Rewrap replaces the slots of one key with slots for another key. The data
// keys and everything sealed under them stay the same. Anyone who has the old
// key and an old keyring can still open the data keys: this is not a
// revocation.
func (d *Dataset) Rewrap(ctx context.Context, kind, key string, to envelope.KeyWrapper) (changed int, err error) {
	if err := d.begin(ctx); err != nil {
		return 0, err
	}
	changed, err = d.changeKeyrings(ctx, func(ring *envelope.Keyring) (*envelope.Keyring, error) {
		if !hasSlot(ring, kind, key) {
			return nil, nil
		}
		next, err := d.reEncrypt(ctx, ring, kind, key, to)
		if !errors.Is(err, errors.ErrUnsupported) {
			return next, err
		}
		dataKey, err := d.set().Key(ctx, ring.ID())
		if err != nil {
			return nil, err
		}
		// The new slot was made from the data key itself, so it may be the only one.
		if next, err = ring.Add(ctx, d.set().Context(), dataKey, to); err != nil {
			return nil, err
		}
		if added := next.Slots()[len(next.Slots())-1]; added.Kind == kind && added.Key == key {
			return next, nil
		}
		return next.Remove(kind, key)
	})
	if err == nil && changed == 0 {
		err = fmt.Errorf("%s %s: %w", kind, key, ErrNoSuchSlot)
	}
	return changed, err
}

// reEncrypt moves a slot from one key of a key service to another with one call, in which
// nobody sees the data key. If that is not possible, the error wraps
// errors.ErrUnsupported.
func (d *Dataset) reEncrypt(ctx context.Context, ring *envelope.Keyring, kind, key string, to envelope.KeyWrapper) (*envelope.Keyring, error) {
	i, single := oneSlot(ring, kind, key)
	if !single {
		return nil, errors.ErrUnsupported
	}
	for _, w := range d.set().Vault.Keys.Open {
		from, ok := w.(envelope.Rewrapper)
		if !ok {
			continue
		}
		next, err := ring.Move(d.set().Context(), i, func(slot envelope.Slot, ec envelope.EncryptionContext) (envelope.Slot, error) {
			return from.Rewrap(ctx, slot, ec, to, ec)
		})
		if errors.Is(err, envelope.ErrNoSlot) || errors.Is(err, errors.ErrUnsupported) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return next, d.fits(ctx, next, to)
	}
	return nil, errors.ErrUnsupported
}

// fits tests a slot that a key service has made without revealing its contents. A caller
// who may not use the new key must trust the service.
func (d *Dataset) fits(ctx context.Context, ring *envelope.Keyring, w envelope.KeyWrapper) error {
	opened, err := ring.Unwrap(ctx, d.set().Context(), w)
	switch {
	case err == nil:
		opened.Wipe()
	case errors.Is(err, envelope.ErrAuthentication):
		return fmt.Errorf("the new slot does not hold the data key: %w", err)
	}
	return ctx.Err()
}

func hasSlot(ring *envelope.Keyring, kind, key string) bool {
	return slices.ContainsFunc(ring.Slots(), func(s envelope.Slot) bool { return s.Kind == kind && s.Key == key })
}

// oneSlot finds the slot of a key that has exactly one.
func oneSlot(ring *envelope.Keyring, kind, key string) (i int, single bool) {
	i, n := -1, 0
	for at, s := range ring.Slots() {
		if s.Kind == kind && s.Key == key {
			i, n = at, n+1
		}
	}
	return i, n == 1
}
