package commit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trust"
	"github.com/vaultpack/vaultpack/vault"
)

// An authority is the right to make a version: the signing key, its role, and the data
// keys granted to the dataset.
type authority struct {
	signer signing.Signer
	chain  *chain.Chain  // nil until the chain of a first version has begun
	grants []chain.Grant // of the version before, and those made since
	root   *objects.Root // of the version before, nil if there is none
	anew   bool          // a new chain is begun

	// recorder signs the records of this upload, as certificate says.
	recorder    *signing.PrivateKey
	certificate string
}

// authorize determines what the configured signing key may do.
func (l *Lease) authorize(ctx context.Context) error {
	set := objects.Of(l.dataset)
	open := set.Vault.EnsureSigningKey
	if l.planned {
		open = set.Vault.SigningKey
	}
	signer, err := open(ctx)
	if l.planned && errors.Is(err, vault.ErrNoSigner) {
		signer, err = signing.GenerateKey(), nil // a plan signs nothing that anybody reads
	}
	if err != nil {
		return fmt.Errorf("making a version of dataset %q: %w", l.dataset.Name, err)
	}
	l.auth.signer = signer
	if l.prev == nil {
		return nil // whoever begins a dataset owns it
	}
	l.auth.root = objects.RootOf(l.prev)
	l.auth.chain, l.auth.grants = l.auth.root.Chain, slices.Clone(l.auth.root.Grants)
	if l.auth.anew {
		return l.beginAnew(ctx)
	}
	if l.auth.chain.Last().Role(signer.Public()) == chain.None {
		return l.needs(chain.Writer)
	}
	return nil
}

// beginAnew begins a new chain, in which the data keys of the version before can be used
// for reading.
func (l *Lease) beginAnew(ctx context.Context) error {
	c, err := chain.New(ctx, l.dataset.Name, l.auth.signer)
	if err != nil {
		return err
	}
	old := l.auth.grants
	l.auth.chain, l.auth.grants = c, nil
	for _, g := range old {
		g, err := c.ReadWith(ctx, l.auth.signer, g)
		if err != nil {
			return err
		}
		l.auth.grants = append(l.auth.grants, g)
	}
	return nil
}

// needs returns the error for a signing key that lacks a role.
func (l *Lease) needs(role chain.Role) error {
	return &dataset.NotSignerError{Dataset: l.dataset.Name, Key: l.auth.signer.Public(), Owner: role == chain.Owner, Owners: l.auth.chain.Last().Owners}
}

// vouch returns what a record of an unfinished upload lists, if it was signed by
// somebody who may write and everything that it names is sealed under data keys of the
// dataset. Otherwise the error says why not. From then on, the keys that the record
// grants belong to the dataset.
func (l *Lease) vouch(ctx context.Context, name codec.PendingName, r *codec.Record, id envelope.KeyID) (h codec.Header, entries []*tree.Entry, err error) {
	c, other, err := l.evidence(r, name.Upload, name.Record)
	if err != nil {
		return h, nil, err
	}
	if h, entries, err = objects.Of(l.dataset).Listed(r); err != nil {
		return h, nil, err
	}
	return h, entries, l.takeGrants(ctx, r, id, packKeys(entries), c, other)
}

// evidence returns the chain of signers that a record of an upload is of, if somebody who
// may write has signed it: the dataset's, or also another one that the upload began and
// that did not become the dataset's.
func (l *Lease) evidence(r *codec.Record, upload string, number int64) (c, other *chain.Chain, err error) {
	c = l.auth.chain
	if c == nil || len(r.Signers) > 0 {
		begun, err := chain.Parse(l.dataset.Name, r.Signers, nil)
		if err != nil {
			return nil, nil, err
		}
		if begun.Last().Role(l.auth.signer.Public()) != chain.Owner {
			return nil, nil, fmt.Errorf("it is of an upload by another signer: %w", envelope.ErrAuthentication)
		}
		switch {
		case c == nil:
			c = begun
		case begun.ID() != c.ID():
			other = begun
		}
	}
	of := c
	if other != nil {
		of = other
	}
	return c, other, of.CheckRecord(r.Upload, r.Signed, upload, number, r.Sum())
}

// packKeys returns the data keys of the packs that entries name.
func packKeys(entries []*tree.Entry) map[envelope.KeyID]bool {
	keys := map[envelope.KeyID]bool{}
	for _, e := range entries {
		for _, x := range e.Extents {
			keys[x.Pack.KeyID] = true
		}
	}
	return keys
}

// takeGrants adds the data keys that a record grants to the dataset's, if what the record
// names is sealed under them or under those of the version before.
func (l *Lease) takeGrants(ctx context.Context, r *codec.Record, id envelope.KeyID, named map[envelope.KeyID]bool, c, other *chain.Chain) error {
	granted := map[envelope.KeyID]bool{}
	for _, g := range l.auth.grants {
		granted[g.KeyID] = true
	}
	var more []chain.Grant
	for _, raw := range r.Keys {
		g, err := l.grantOf(ctx, raw, c, other)
		if err != nil {
			return err
		}
		if !granted[g.KeyID] {
			granted[g.KeyID] = true
			more = append(more, g)
		}
	}
	if !granted[id] {
		return fmt.Errorf("its data key %s is not one that a signer has made: %w", id, envelope.ErrAuthentication)
	}
	for key := range named {
		if !granted[key] {
			return fmt.Errorf("it names a pack under the data key %s, which is not one that a signer has made: %w", key, envelope.ErrAuthentication)
		}
	}
	if err := objects.Of(l.dataset).Vouch(more); err != nil {
		return err
	}
	l.auth.chain, l.auth.grants = c, append(l.auth.grants, more...)
	return nil
}

// grantOf reads a grant of a record. If it belongs to another chain, which this
// signer began and which lost to c, it is made again under c.
func (l *Lease) grantOf(ctx context.Context, raw string, c, other *chain.Chain) (chain.Grant, error) {
	if other == nil {
		return c.ParseGrant(raw)
	}
	g, err := other.ParseGrant(raw)
	if err != nil || l.planned {
		return g, err
	}
	if at := slices.IndexFunc(l.auth.grants, func(old chain.Grant) bool { return old.KeyID == g.KeyID }); at >= 0 {
		return l.auth.grants[at], nil
	}
	return c.TakeOver(ctx, l.auth.signer, g)
}

// SealingKey returns the data key that the upload seals under: the newest one that it may
// use, or a new one. It may use keys that an owner, or the signer itself, has granted
// since the last rotation, but not a key that is merely present in the vault.
func (l *Lease) SealingKey(ctx context.Context) (*envelope.DataKey, error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	id, err := l.usable(ctx)
	if err != nil {
		return nil, err
	}
	if id != (envelope.KeyID{}) {
		return objects.Of(l.dataset).Key(ctx, id)
	}
	return l.NewKey(ctx)
}

// usable finds the data key to continue with, or returns zero.
func (l *Lease) usable(ctx context.Context) (envelope.KeyID, error) {
	none := envelope.KeyID{}
	if l.auth.chain == nil {
		return none, nil
	}
	may := func(g chain.Grant) bool { return l.auth.chain.MaySeal(g, l.auth.signer.Public()) }
	if l.auth.root == nil {
		// Unless the record was made on this machine, nothing shows that it, and its
		// key, was made for this dataset and not for an earlier one of the same name by
		// this signer. What the record names is reused in either case.
		known, err := objects.Of(l.dataset).Known(ctx)
		if err != nil || known.Begun != l.auth.chain.Last().Digest {
			return none, err
		}
		if at := slices.IndexFunc(l.auth.grants, func(g chain.Grant) bool { return g.KeyID == l.pending.KeyID }); at >= 0 && may(l.auth.grants[at]) {
			return l.pending.KeyID, nil
		}
	}
	if l.prev != nil { // its key is already open
		if at := slices.IndexFunc(l.auth.grants, func(g chain.Grant) bool { return g.KeyID == l.prev.KeyID }); at >= 0 && may(l.auth.grants[at]) {
			return l.prev.KeyID, nil
		}
	}
	for _, g := range slices.Backward(l.auth.grants) {
		if may(g) {
			return g.KeyID, nil
		}
	}
	return none, nil
}

// NewKey makes a data key for the dataset, stores its keyring, and grants it.
func (l *Lease) NewKey(ctx context.Context) (*envelope.DataKey, error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	set := objects.Of(l.dataset)
	signer := l.auth.signer
	c := l.auth.chain
	if l.planned {
		// It has the right size, and is never read.
		if set.Vault.PlanSignature(signer); c == nil {
			set.Vault.PlanSignature(signer) // also in the first link
		}
		signer = signing.GenerateKey()
		c = nil
	}
	if c == nil {
		var err error
		if c, err = chain.New(ctx, l.dataset.Name, signer); err != nil {
			return nil, err
		}
		if l.auth.chain == nil {
			if err := set.Remember(ctx, trust.Known{Begun: c.Last().Digest}); err != nil {
				return nil, err
			}
			l.auth.chain = c
		}
	}
	key, err := set.NewKey(ctx)
	if err != nil {
		return nil, err
	}
	commitment, err := key.Commitment()
	if err != nil {
		return nil, err
	}
	g, err := c.Grant(ctx, signer, key.ID(), commitment)
	if err != nil {
		return nil, err
	}
	l.auth.grants = append(l.auth.grants, g)
	return key, set.Vouch([]chain.Grant{g})
}

// ChangeSigners changes the signers, starting with the version that the lease is for.
// Only an owner may do that.
func (l *Lease) ChangeSigners(ctx context.Context, change func(*chain.Link) error) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	if l.prev == nil {
		return fmt.Errorf("dataset %q: %w", l.dataset.Name, dataset.ErrUnknownDataset)
	}
	c, err := l.auth.chain.Extend(ctx, l.auth.signer, l.prev.Number, change)
	if errors.Is(err, chain.ErrNotOwner) {
		return l.needs(chain.Owner)
	}
	if err != nil {
		return err
	}
	if own := l.auth.signer.Public(); c.Last().Role(own) == chain.None {
		return fmt.Errorf("%s is your own signing key, which could not sign the version without it: another owner has to remove it", own.ID().Short())
	}
	l.auth.chain = c
	return nil
}

// Rotate begins a new epoch: nothing more is sealed under earlier data keys.
func (l *Lease) Rotate(ctx context.Context) (*envelope.DataKey, error) {
	err := l.ChangeSigners(ctx, func(next *chain.Link) error {
		next.Epoch++
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l.NewKey(ctx)
}

// signRecord returns the record with this number and list, and the evidence that lets
// another run trust it: the grants that no version has yet, the signers if there is no
// version, and the signature. The first record of an upload takes one signature by the
// signing key.
func (l *Lease) signRecord(ctx context.Context, number int64, list []byte) (*codec.Record, error) {
	r := &codec.Record{List: list}
	if l.auth.root == nil && l.auth.chain != nil {
		r.Signers = l.auth.chain.Raw()
	}
	for _, g := range l.auth.grants {
		if l.auth.root == nil || l.auth.root.Names(g.KeyID) != nil {
			r.Keys = append(r.Keys, g.Raw())
		}
	}
	if l.auth.recorder == nil {
		if err := l.certify(ctx); err != nil {
			return nil, err
		}
	}
	var err error
	r.Upload = l.auth.certificate
	r.Signed, err = chain.SignRecord(ctx, l.auth.recorder, l.record.upload, number, r.Sum())
	return r, err
}

// certify makes the key that signs the records of this upload.
func (l *Lease) certify(ctx context.Context) (err error) {
	c, signer := l.auth.chain, l.auth.signer
	if l.planned { // it has the right size, and is never read
		objects.Of(l.dataset).Vault.PlanSignature(signer)
		signer = signing.GenerateKey()
		if c, err = chain.New(ctx, l.dataset.Name, signer); err != nil {
			return err
		}
	}
	if c == nil {
		return errors.New("an upload that has no data key yet records nothing")
	}
	key := signing.GenerateKey()
	if l.auth.certificate, err = c.CertifyUpload(ctx, signer, l.record.upload, key.Public()); err != nil {
		return err
	}
	l.auth.recorder = key
	return nil
}

// keys returns the grants that a version carries: those of data keys that it uses, as far
// as known, and those of keys that may still be used for sealing.
func (l *Lease) keys(used map[envelope.KeyID]bool) []string {
	var raw []string
	for _, g := range l.auth.grants {
		if used == nil || used[g.KeyID] || g.Epoch == l.auth.chain.Last().Epoch {
			raw = append(raw, g.Raw())
		}
	}
	return raw
}
