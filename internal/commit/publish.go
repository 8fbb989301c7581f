package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// Commit makes the version of the lease's number, after Previous, of an index that
// has been written. packs are those that the index names and the upload has not made
// itself. Commit looks once more whether everything is there that the
// version relies on. Its one conditional write is the moment at which readers see
// all of the version; before it they see none.
//
// The error wraps ErrConflict if another writer has taken the number, and
// ErrCollected if something is gone. In both cases the same upload again succeeds.
func (l *Lease) Commit(ctx context.Context, key *envelope.DataKey, parts []tree.Part, totals tree.Totals, packs map[envelope.ObjectID]*tree.Object) (*dataset.Version, error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	l.stop() // from here on the lease is not renewed, and its loss breaks nothing off
	if err := l.look(ctx, key, parts, packs); err != nil {
		return nil, err
	}
	v, err := commit(ctx, l.dataset, key, l.number, l.prev, parts, totals)
	if err != nil && !errors.Is(err, dataset.ErrConflict) {
		l.unsure.Store(true)
	}
	return v, err
}

// look looks for all that a version relies on: that nobody has ended the upload, the
// keyrings, and what it takes over from others.
func (l *Lease) look(ctx context.Context, key *envelope.DataKey, parts []tree.Part, packs map[envelope.ObjectID]*tree.Object) error {
	d := l.dataset
	if err := l.check(ctx); err != nil {
		return err
	}
	keys := map[envelope.KeyID]bool{key.ID(): true}
	wanted := map[string]map[string]int64{"/packs/": {}, "/index/": {}}
	for _, p := range parts {
		keys[p.KeyID] = true
		if l.prev != nil && slices.ContainsFunc(l.prev.Parts, func(old tree.Part) bool { return old.ID == p.ID }) {
			wanted["/index/"][objects.Of(d).IndexName(p.ID)] = p.Pin.Size
		}
	}
	for _, o := range packs {
		keys[o.KeyID] = true
		wanted["/packs/"][objects.Of(d).PackName(o.ID)] = o.Pin.Size
	}
	for id := range keys {
		if _, err := objects.Of(d).Vault.Stat(ctx, objects.Of(d).KeyName(id)); errors.Is(err, fs.ErrNotExist) && !l.planned {
			return fmt.Errorf("%s: %w; run the same command again", objects.Of(d).KeyName(id), dataset.ErrCollected)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if l.prev != nil {
		o, err := objects.Of(d).Vault.Stat(ctx, objects.Of(d).VersionName(l.prev.Number))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || o.Size != l.prev.Pin.Size {
			return fmt.Errorf("version %d of dataset %q was removed: %w", l.prev.Number, d.Name, dataset.ErrConflict)
		}
	}
	for folder, want := range wanted {
		if err := l.lookFor(ctx, folder, want); err != nil {
			return err
		}
	}
	return nil
}

// lookFor lists a folder and compares the objects' sizes.
func (l *Lease) lookFor(ctx context.Context, folder string, want map[string]int64) error {
	if len(want) == 0 {
		return nil
	}
	for o, err := range objects.Of(l.dataset).Vault.List(ctx, l.dataset.Name+folder) {
		if err != nil {
			return fmt.Errorf("looking for what the version relies on: %w", err)
		}
		if size, ok := want[o.Name]; ok && size == o.Size {
			delete(want, o.Name)
		}
	}
	if len(want) > 0 && !l.planned {
		return fmt.Errorf("%s and %d more: %w; run the same command again", slices.Min(slices.Collect(maps.Keys(want))), len(want)-1, dataset.ErrCollected)
	}
	return nil
}

// commit makes the version of the given number after parent, which may be nil.
func commit(ctx context.Context, d *dataset.Dataset, key *envelope.DataKey, number int64, parent *dataset.Version, parts []tree.Part, totals tree.Totals) (*dataset.Version, error) {
	root := &codec.Root{Number: number, Created: time.Now().UTC(), Totals: totals, Parts: parts}
	if parent != nil {
		root.Parent, root.ParentPin = parent.Number, parent.Pin
	}
	b, err := codec.EncodeRoot(d.Name, root)
	if err != nil {
		return nil, err
	}
	var sealed bytes.Buffer
	w, err := envelope.NewWriter(&sealed, envelope.KindVersion, key)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	err = objects.Of(d).Vault.Create(ctx, objects.Of(d).VersionName(number), sealed.Bytes())
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("version %d of dataset %q: %w", number, d.Name, dataset.ErrConflict)
	}
	if err != nil {
		return nil, fmt.Errorf("committing the version: %w", err)
	}
	return leaseVersion(objects.Of(d), &objects.Root{Root: root, KeyID: key.ID(), Pin: w.Pin()}), nil
}

// leaseVersion is the version of a root.
func leaseVersion(s *objects.Set, r *objects.Root) *dataset.Version {
	v := &dataset.Version{Number: r.Number, Created: r.Created, Totals: r.Totals, Parts: r.Parts,
		Parent: r.Parent, ParentPin: r.ParentPin, KeyID: r.KeyID, Pin: r.Pin}
	objects.Bind(v, s)
	return v
}
