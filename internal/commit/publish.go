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
	"unicode/utf8"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
)

// Commit makes and signs the version with the lease's number, after Previous, from an index
// that has been written. It checks once more that everything that the version relies on is
// there. Its one conditional write is the moment at which readers see the whole version;
// before it they see nothing of it.
//
// The error wraps ErrConflict if another writer has taken the number, and
// ErrCollected if something is gone. In both cases repeating the upload succeeds.
func (l *Lease) Commit(ctx context.Context, key *envelope.DataKey, c Contents) (*dataset.Version, error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	if l.plan != nil {
		return nil, errors.New("commit: a shard of a plan is no version")
	}
	l.stop() // from here on the lease is no longer renewed, and losing it interrupts nothing
	if err := l.look(ctx, key, c); err != nil {
		return nil, err
	}
	root, sealed, err := l.seal(ctx, key, c)
	if err != nil {
		return nil, err
	}
	set := objects.Of(l.dataset)
	err = set.Vault.Create(ctx, set.VersionName(l.number), sealed)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("version %d of dataset %q: %w", l.number, l.dataset.Name, dataset.ErrConflict)
	}
	if err != nil {
		l.unsure.Store(true)
		return nil, fmt.Errorf("committing the version: %w", err)
	}
	v := leaseVersion(set, root)
	if l.planned {
		return v, nil
	}
	if l.auth.anew {
		if err := set.Forget(ctx); err != nil {
			return v, fmt.Errorf("version %d was created, but the signers of before are remembered still: %w", l.number, err)
		}
	}
	if l.prev == nil || l.auth.anew {
		err = set.Adopt(ctx, root)
	} else {
		err = set.Believe(ctx, root, objects.Numbers{}) // the version before has been checked
	}
	if err != nil {
		return v, fmt.Errorf("version %d was created, but this machine does not remember it: %w", l.number, err)
	}
	return v, nil
}

// look checks everything that a version relies on: that nobody has ended the upload,
// that the keyrings are there, and that what it takes over from others is.
func (l *Lease) look(ctx context.Context, key *envelope.DataKey, c Contents) error {
	d := l.dataset
	if err := l.check(ctx); err != nil {
		return err
	}
	keys := map[envelope.KeyID]bool{key.ID(): true}
	wanted := map[string]map[string]int64{"/packs/": {}, "/index/": {}}
	for _, p := range c.Parts {
		keys[p.KeyID] = true
		if c.Plan != "" || l.prev != nil && slices.ContainsFunc(l.prev.Parts, func(old tree.Part) bool { return old.ID == p.ID }) {
			wanted["/index/"][objects.Of(d).IndexName(p.ID)] = p.Pin.Size
		}
	}
	for _, o := range c.Relied {
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

// seal makes the root of the version, signed and sealed.
func (l *Lease) seal(ctx context.Context, key *envelope.DataKey, c Contents) (*objects.Root, []byte, error) {
	root := &codec.Root{Number: l.number, Created: time.Now().UTC(), Totals: c.Totals, Parts: c.Parts,
		Tree: c.Tree, HasTree: c.HasTree, Message: c.Message, Plan: c.Plan, Partial: c.Partial}
	if l.prev != nil {
		root.Parent, root.ParentPin = l.prev.Number, l.prev.Pin
		root.Tags = objects.RootOf(l.prev).Tags
	}
	if c.Tags != nil {
		root.Tags = *c.Tags
	}
	if len(c.Message) > codec.MaxMessage || !utf8.ValidString(c.Message) {
		return nil, nil, fmt.Errorf("a message of %d bytes: it is text of at most %d", len(c.Message), codec.MaxMessage)
	}
	if c.KeyIDs != nil {
		c.KeyIDs[key.ID()] = true
	}
	root.Signers, root.Keys = l.auth.chain.Raw(), l.keys(c.KeyIDs)
	signer := l.auth.signer
	if l.planned {
		objects.Of(l.dataset).Vault.PlanSignature(signer)
		signer = signing.GenerateKey()
	}
	b, err := objects.SignRoot(ctx, l.dataset.Name, root, l.auth.chain, signer)
	if err != nil {
		return nil, nil, fmt.Errorf("signing the version: %w", err)
	}
	var sealed bytes.Buffer
	w, err := envelope.NewWriter(&sealed, envelope.KindVersion, key)
	if err != nil {
		return nil, nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, nil, err
	}
	if err := w.Close(); err != nil {
		return nil, nil, err
	}
	if l.planned {
		return &objects.Root{Root: root, Chain: l.auth.chain, KeyID: key.ID(), Pin: w.Pin()}, sealed.Bytes(), nil
	}
	// Read it as every reader will: a root that they would reject is not committed.
	r, err := objects.Of(l.dataset).OpenRoot(l.number, b, key.ID())
	if err != nil {
		return nil, nil, fmt.Errorf("the version that was to be created would not be believed: %w", err)
	}
	r.Pin = w.Pin()
	return r, sealed.Bytes(), nil
}

// leaseVersion returns the version of a root.
func leaseVersion(s *objects.Set, r *objects.Root) *dataset.Version {
	v := &dataset.Version{Number: r.Number, Created: r.Created, Totals: r.Totals, Parts: r.Parts,
		Parent: r.Parent, ParentPin: r.ParentPin, KeyID: r.KeyID, Pin: r.Pin, Signer: r.Signer, Partial: r.Partial, Message: r.Message}
	objects.BindRoot(v, s, r)
	return v
}
