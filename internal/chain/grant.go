package chain

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

// A Grant says that a data key belongs to the dataset. Anyone who may write versions may
// grant a key; only the writer itself may seal under a key that a writer has granted: a
// user who may upload but not decrypt still knows the keys that he has made.
type Grant struct {
	KeyID envelope.KeyID
	// Commitment is the data key's commitment: the grant is for no other key with this ID.
	Commitment [32]byte
	// Epoch is the epoch in which the key was made, and Sequence the number of the link
	// that entitled By to grant it.
	Epoch, Sequence int
	By              signing.PublicKey
	// ReadOnly says that nothing more may be sealed under the key: it comes from an
	// upload that began another chain, which lost.
	ReadOnly bool
	raw      string
}

// Raw is the signed envelope.
func (g Grant) Raw() string { return g.raw }

type grantJSON struct {
	Format   string `json:"format"`
	Dataset  string `json:"dataset"`
	ID       string `json:"id"`
	KeyID    string `json:"key_id"`
	Commit   []byte `json:"commitment"`
	Epoch    int    `json:"epoch"`
	Sequence int    `json:"sequence"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Grant makes a data key that the signer has made a key of the dataset.
func (c *Chain) Grant(ctx context.Context, s signing.Signer, key envelope.KeyID, commitment [32]byte) (Grant, error) {
	return c.grant(ctx, s, grantJSON{KeyID: key.String(), Commit: commitment[:]})
}

// TakeOver adopts, for reading, a data key that the signer has granted in another chain
// of the same dataset.
func (c *Chain) TakeOver(ctx context.Context, s signing.Signer, g Grant) (Grant, error) {
	if g.By != s.Public() {
		return Grant{}, fmt.Errorf("the data key %s was granted by another: %w", g.KeyID, envelope.ErrAuthentication)
	}
	return c.ReadWith(ctx, s, g)
}

// ReadWith adopts, for reading, the data key of any grant: the signer thereby says that
// what is sealed under it belongs to the dataset.
func (c *Chain) ReadWith(ctx context.Context, s signing.Signer, g Grant) (Grant, error) {
	return c.grant(ctx, s, grantJSON{KeyID: g.KeyID.String(), Commit: g.Commitment[:], ReadOnly: true})
}

// grant completes and signs a grant under the last link. The caller has set its key.
func (c *Chain) grant(ctx context.Context, s signing.Signer, g grantJSON) (Grant, error) {
	l := c.Last()
	if l.Role(s.Public()) == None {
		return Grant{}, fmt.Errorf("a data key of dataset %q was to be granted by %s, which is not a signer of it", l.Dataset, s.Public().ID().Short())
	}
	g.Format, g.Dataset, g.ID, g.Epoch, g.Sequence = grantFormat, l.Dataset, l.ID, l.Epoch, l.Sequence
	payload, err := json.Marshal(g)
	if err != nil {
		return Grant{}, err
	}
	raw, err := signing.Sign(ctx, s, grantPayload, payload)
	if err != nil {
		return Grant{}, err
	}
	return c.ParseGrant(string(raw))
}

// ParseGrant reads a grant, and verifies that a signer of this chain has made it.
func (c *Chain) ParseGrant(raw string) (Grant, error) {
	bad := func(why string) (Grant, error) {
		return Grant{}, fmt.Errorf("a data key of dataset %q: %s: %w", c.Last().Dataset, why, envelope.ErrAuthentication)
	}
	var j grantJSON
	by, why, err := c.open(raw, grantPayload, &j)
	switch {
	case err != nil:
		return Grant{}, err
	case why != "":
		return bad(why)
	}
	key, err := envelope.ParseKeyID(j.KeyID)
	l := c.At(j.Sequence)
	if err != nil || l == nil || j.Format != grantFormat || len(j.Commit) != 32 || j.Dataset != l.Dataset || j.ID != l.ID || j.Epoch != l.Epoch || l.Role(by) == None {
		return bad("the grant is not of this chain of signers")
	}
	return Grant{KeyID: key, Commitment: [32]byte(j.Commit), Epoch: j.Epoch, Sequence: j.Sequence, By: by, ReadOnly: j.ReadOnly, raw: raw}, nil
}

// open decodes an envelope signed by anybody who ever was a signer. If no such key
// has signed it, why says so, and err is nil.
func (c *Chain) open(raw, payloadType string, v any) (by signing.PublicKey, why string, err error) {
	id, _, err := signing.Unverified([]byte(raw))
	if err != nil {
		return by, "", err
	}
	by, ok := c.member(id)
	if !ok {
		return by, "it was signed by " + id.Short() + ", which never was a signer", nil
	}
	payload, err := signing.Open([]byte(raw), payloadType, by)
	if err != nil {
		return by, err.Error(), nil
	}
	return by, "", decode(payload, v)
}

// member finds a key among all former and current signers, newest set first.
func (c *Chain) member(id signing.KeyID) (signing.PublicKey, bool) {
	for i := len(c.links) - 1; i >= 0; i-- {
		for _, keys := range [][]signing.PublicKey{c.links[i].Owners, c.links[i].Writers} {
			for _, k := range keys {
				if k.ID() == id {
					return k, true
				}
			}
		}
	}
	return signing.PublicKey{}, false
}

// MaySeal reports whether the signer may seal under the key of the grant: it is of this
// epoch, and an owner or the signer itself has granted it.
func (c *Chain) MaySeal(g Grant, signer signing.PublicKey) bool {
	l := c.Last()
	return !g.ReadOnly && g.Epoch == l.Epoch && (g.By == signer || l.Role(g.By) == Owner)
}
