package dataset

import (
	"context"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

// Contents lists the objects of a version, by their names in the vault.
type Contents struct {
	// Metadata holds the objects that are needed to find and check the packs:
	// every keyring of the dataset, the version's root, and the parts of its
	// index.
	Metadata []string
	// Keyrings are the dataset's keyrings, in the order of their key IDs.
	Keyrings []*envelope.Keyring
	// Packs are in the order in which the index first names them.
	Packs []tree.Object
	// Keys are the data keys that these objects are sealed under.
	Keys []envelope.KeyID
	// Split is the path of a file that lies in more than one pack, or empty if
	// there is none. A share of the packs may hold only some of its pieces.
	Split string
}

// Contents reads the version's whole index and returns the version's objects.
func (v *Version) Contents(ctx context.Context) (*Contents, error) {
	if err := v.begin(ctx); err != nil {
		return nil, err
	}
	d := v.of()
	rings, err := d.Keyrings(ctx)
	if err != nil {
		return nil, err
	}
	c := &Contents{Keyrings: rings}
	for _, ring := range rings {
		c.Metadata = append(c.Metadata, d.set().KeyName(ring.ID()))
	}
	c.Metadata = append(c.Metadata, d.set().VersionName(v.Number))
	keys := map[envelope.KeyID]bool{}
	use := func(id envelope.KeyID) {
		if !keys[id] {
			keys[id] = true
			c.Keys = append(c.Keys, id)
		}
	}
	use(v.KeyID)
	for _, p := range v.Parts {
		c.Metadata = append(c.Metadata, d.set().IndexName(p.ID))
		use(p.KeyID)
	}
	packs := map[envelope.ObjectID]bool{}
	for e, err := range v.Entries(ctx) {
		if err != nil {
			return nil, err
		}
		for _, x := range e.Extents {
			if x.Pack.ID != e.Extents[0].Pack.ID && c.Split == "" {
				c.Split = e.Path
			}
			if !packs[x.Pack.ID] {
				packs[x.Pack.ID] = true
				c.Packs = append(c.Packs, *x.Pack)
				use(x.Pack.KeyID)
			}
		}
	}
	return c, nil
}

// KeyringFor returns the keyring of one data key with one more slot, for w,
// and the name that it has in a vault. It is not stored.
func (d *Dataset) KeyringFor(ctx context.Context, id envelope.KeyID, w envelope.KeyWrapper) (*envelope.Keyring, string, error) {
	if err := d.begin(ctx); err != nil {
		return nil, "", err
	}
	ring, err := d.set().Keyring(ctx, id)
	if err != nil {
		return nil, "", err
	}
	key, err := d.set().Key(ctx, id)
	if err != nil {
		return nil, "", err
	}
	ring, err = ring.Add(ctx, d.set().Context(), key, w)
	return ring, d.set().KeyName(id), err
}
