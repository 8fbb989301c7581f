package dataset

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
)

// A Collection removes what nothing needs any more.
type Collection struct {
	// Grace is how old an object must be: younger ones may belong to an upload
	// that is under way.
	Grace time.Duration
	// DryRun only counts.
	DryRun bool

	// Results: objects that were removed, and what they held.
	Packs, Indexes, Pending, Keyrings int
	Bytes                             int64
	// Uploads are unfinished multipart uploads that were aborted.
	Uploads int
}

// Run removes the packs and index parts that no version in the vault names and
// no unfinished upload younger than the grace period; records of older unfinished
// uploads; keyrings that nothing is sealed under; and what writers that died have
// left half-written. If any version cannot be read it removes nothing: what that
// version needs cannot be known.
func (c *Collection) Run(ctx context.Context, d *Dataset) error {
	limit := time.Now().Add(-c.Grace)
	used := map[string]bool{}
	keys := map[envelope.KeyID]bool{}
	numbers, err := d.Versions(ctx)
	if err != nil {
		return err
	}
	if len(numbers) == 0 {
		if _, err := d.Keyrings(ctx); err != nil {
			return err
		}
	}
	for _, n := range numbers {
		v, err := d.Version(ctx, n)
		if err != nil {
			return fmt.Errorf("version %d cannot be read, so nothing is removed: %w", n, err)
		}
		if err := v.mark(ctx, used, keys); err != nil {
			return fmt.Errorf("the index of version %d cannot be read, so nothing is removed: %w", n, err)
		}
	}
	old, err := c.markPending(ctx, d, limit, used, keys)
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := c.remove(ctx, d, name, &c.Pending); err != nil {
			return err
		}
	}
	for folder, counter := range map[string]*int{"/packs/": &c.Packs, "/index/": &c.Indexes} {
		if err := c.sweep(ctx, d, folder, limit, counter, func(name string) bool { return used[name] }); err != nil {
			return err
		}
	}
	err = c.sweep(ctx, d, "/keys/", limit, &c.Keyrings, func(name string) bool {
		id, err := envelope.ParseKeyID(strings.TrimSuffix(path.Base(name), ".json"))
		return err != nil || keys[id]
	})
	switch {
	case err != nil:
	case c.DryRun:
		c.Uploads, err = d.countOlder(ctx, c.Grace)
	default:
		c.Uploads, err = d.sweepOlder(ctx, c.Grace)
	}
	return err
}

// mark notes the objects that the version names, and the keys they are under.
func (v *Version) mark(ctx context.Context, used map[string]bool, keys map[envelope.KeyID]bool) error {
	keys[v.KeyID] = true
	for i, part := range v.Parts {
		name := v.dataset.indexName(part.ID)
		if used[name] {
			continue // the same part in another version
		}
		entries, err := v.readPart(ctx, i)
		if err != nil {
			return err
		}
		used[name] = true
		keys[part.KeyID] = true
		v.dataset.markPacks(entries, used, keys)
	}
	return nil
}

func (d *Dataset) markPacks(entries []*Entry, used map[string]bool, keys map[envelope.KeyID]bool) {
	for _, e := range entries {
		for _, x := range e.Extents {
			used[d.PackName(x.Pack.ID)] = true
			keys[x.Pack.KeyID] = true
		}
	}
}

// markPending notes what young unfinished uploads name, and gives the records of
// the old ones. An upload is as young as its youngest record.
func (c *Collection) markPending(ctx context.Context, d *Dataset, limit time.Time, used map[string]bool, keys map[envelope.KeyID]bool) (old []string, err error) {
	uploads := map[string][]string{}
	young := map[string]bool{}
	for o, err := range d.vault.List(ctx, d.Name+"/pending/") {
		if err != nil {
			return nil, fmt.Errorf("listing unfinished uploads: %w", err)
		}
		upload := path.Dir(o.Name)
		uploads[upload] = append(uploads[upload], o.Name)
		young[upload] = young[upload] || o.Modified.After(limit)
	}
	for upload, names := range uploads {
		if !young[upload] {
			old = append(old, names...)
			continue
		}
		for _, name := range names {
			_, entries, key, err := d.readPending(ctx, name)
			if errors.Is(err, ErrMissing) {
				continue // its upload has just finished
			}
			if err != nil {
				return nil, fmt.Errorf("a record of a running upload cannot be read, so nothing is removed: %s: %w", name, tampered(err))
			}
			keys[key] = true
			d.markPacks(entries, used, keys)
		}
	}
	return old, nil
}

// sweep removes the objects of a folder that are not used, and old enough.
func (c *Collection) sweep(ctx context.Context, d *Dataset, folder string, limit time.Time, counter *int, used func(string) bool) error {
	for o, err := range d.vault.List(ctx, d.Name+folder) {
		if err != nil {
			return fmt.Errorf("listing the vault: %w", err)
		}
		if used(o.Name) || o.Modified.After(limit) {
			continue
		}
		if err := c.remove(ctx, d, o.Name, counter); err != nil {
			return err
		}
		c.Bytes += o.Size
	}
	return nil
}

func (c *Collection) remove(ctx context.Context, d *Dataset, name string, counter *int) error {
	*counter++
	if c.DryRun {
		return nil
	}
	if err := d.vault.Delete(ctx, name); err != nil {
		return fmt.Errorf("removing %s: %w", name, err)
	}
	return nil
}

// RemoveVersion deletes a version's root. The objects that no other version names
// are left to a Collection. The newest version stays: its number would be given
// out again, to something else.
func (d *Dataset) RemoveVersion(ctx context.Context, number int64) error {
	numbers, err := d.Versions(ctx)
	if err != nil {
		return err
	}
	switch at := slices.Index(numbers, number); {
	case len(numbers) == 0:
		return fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
	case at < 0:
		return fmt.Errorf("version %d of dataset %q: %w", number, d.Name, ErrUnknownVersion)
	case at == len(numbers)-1:
		return fmt.Errorf("version %d is the newest of dataset %q, which always stays: make another version first, or remove the whole dataset", number, d.Name)
	}
	if err := d.vault.Delete(ctx, d.versionName(number)); err != nil {
		return fmt.Errorf("removing version %d: %w", number, err)
	}
	return nil
}

// Remove deletes everything of the dataset: first the versions, newest first, so
// that no reader finds one that is not whole, and the keyrings last. It tells how
// many objects are gone.
func (d *Dataset) Remove(ctx context.Context) (deleted int, err error) {
	for _, folder := range []string{"versions", "pending", "index", "packs", "keys"} {
		var names []string
		for o, err := range d.vault.List(ctx, d.Name+"/"+folder+"/") {
			if err != nil {
				return deleted, fmt.Errorf("listing the vault: %w", err)
			}
			names = append(names, o.Name)
		}
		slices.Reverse(names)
		for _, name := range names {
			if err := d.vault.Delete(ctx, name); err != nil {
				return deleted, fmt.Errorf("removing %s: %w", name, err)
			}
			deleted++
		}
	}
	if deleted == 0 {
		return 0, fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
	}
	_, err = d.sweepOlder(ctx, 0)
	return deleted, err
}
