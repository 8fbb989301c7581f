package dataset

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// A DamagedError reports that a version cannot be read: its root, or a part of its
// index, does not authenticate or is missing. It wraps the cause.
type DamagedError = objects.DamagedError

// A DamagedPackError reports that a pack does not authenticate or is missing. It
// wraps the cause.
type DamagedPackError = objects.DamagedPackError

// ErrSound is returned by RemoveDamaged for a version that can be read.
var ErrSound = errors.New("it can be read")

// RemoveDamaged removes a damaged version, which may be the newest: it replaces the
// root with a mark, and leaves the rest to a collection. Nothing that another version
// needs is removed. RemoveDamaged removes nothing if the version can be read, or if a
// wrong key, not damage, may be the cause.
func (d *Dataset) RemoveDamaged(ctx context.Context, number int64) error {
	if err := d.begin(ctx); err != nil {
		return err
	}
	all, err := d.set().Numbers(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(t objects.Taken) bool { return t.Number == number })
	if at < 0 {
		return fmt.Errorf("version %d of dataset %q: %w", number, d.Name, ErrUnknownVersion)
	}
	if all[at].Mark != "" {
		if err = d.set().CheckMark(ctx, all[at]); err == nil {
			return d.set().Marked(number, all[at].Mark)
		}
	} else {
		err = d.readAll(ctx, number)
	}
	switch {
	case err == nil:
		return fmt.Errorf("version %d of dataset %q is not damaged: %w", number, d.Name, ErrSound)
	case !objects.Unauthentic(err):
		return fmt.Errorf("cannot tell that version %d of dataset %q is damaged, so it is not removed: %w", number, d.Name, err)
	}
	if kerr := d.opensAny(ctx); kerr != nil {
		return fmt.Errorf("no keyring of dataset %q opens, so the key may be wrong, and version %d is not removed: %w", d.Name, number, kerr)
	}
	if err := d.set().PutMark(ctx, number, codec.RemovedMark); err != nil {
		return fmt.Errorf("removing version %d: %w", number, err)
	}
	return d.set().Removed(ctx, number)
}

// readAll reads the root of a version and its whole index.
func (d *Dataset) readAll(ctx context.Context, number int64) error {
	v, err := d.Version(ctx, number)
	if err != nil {
		return err
	}
	for i := range v.Parts {
		if _, err := v.readPart(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// opensAny returns an error unless one of the keyrings can be opened. If so, the keys and
// the encryption context are the right ones.
func (d *Dataset) opensAny(ctx context.Context) error {
	err := error(ErrMissing)
	for o, lerr := range d.set().Vault.List(ctx, d.Name+"/keys/") {
		if lerr != nil {
			return fmt.Errorf("listing the keyrings: %w", lerr)
		}
		id, perr := envelope.ParseKeyID(strings.TrimSuffix(path.Base(o.Name), ".json"))
		if perr != nil || d.set().KeyName(id) != o.Name {
			continue
		}
		if _, err = d.set().Key(ctx, id); err == nil {
			return nil
		}
	}
	return err
}
