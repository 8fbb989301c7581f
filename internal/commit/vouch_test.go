package commit

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/signing"
)

// A record of an unfinished upload is used if a signer has granted its data key and those
// of all packs that it names; where there is no version yet, if this signer has begun the
// dataset in it. So is one that was planted, or is another's, not.
func TestWhichRecordsAreUsed(t *testing.T) {
	own, other := signing.GenerateKey(), signing.GenerateKey()
	begin := func(by signing.Signer) *chain.Chain {
		c, err := chain.New(ctx, "d", by)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	grant := func(c *chain.Chain, by signing.Signer, id envelope.KeyID) string {
		g, err := c.Grant(ctx, by, id, [32]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		return g.Raw()
	}
	ours, theirs := begin(own), begin(other)
	shared, err := ours.Extend(ctx, own, 0, func(l *chain.Link) error { l.Writers = []signing.PublicKey{other.Public()}; return nil })
	if err != nil {
		t.Fatal(err)
	}
	key, stray := envelope.KeyID{1}, envelope.KeyID{2}
	under := func(id envelope.KeyID) []*tree.Entry {
		return []*tree.Entry{{Path: "a", Extents: []tree.Extent{{Pack: &tree.Object{KeyID: id}}}}}
	}
	for name, c := range map[string]struct {
		version *chain.Chain // of the version before; nil where there is none
		begun   []string     // the signers in the record
		keys    []string
		id      envelope.KeyID
		entries []*tree.Entry
		ok      bool
	}{
		"begun here":                     {nil, ours.Raw(), []string{grant(ours, own, key)}, key, under(key), true},
		"begun by another":               {nil, theirs.Raw(), []string{grant(theirs, other, key)}, key, under(key), false},
		"begun by one who made us write": {nil, shared.Raw(), []string{grant(shared, own, key)}, key, under(key), true},
		"begun by none":                  {nil, nil, nil, key, under(key), false},
		"a key that is not granted":      {nil, ours.Raw(), []string{grant(ours, own, key)}, stray, under(key), false},
		"a pack under another key":       {nil, ours.Raw(), []string{grant(ours, own, key)}, key, under(stray), false},
		"a grant by a stranger":          {nil, ours.Raw(), []string{grant(theirs, other, key)}, key, under(key), false},
		"after a version":                {ours, nil, []string{grant(ours, own, key)}, key, under(key), true},
		"a writer's, after a version":    {shared, nil, []string{grant(shared, other, key)}, key, under(key), true},
		"a stranger's, after a version":  {ours, nil, []string{grant(theirs, other, key)}, key, under(key), false},
		"two keys":                       {ours, nil, []string{grant(ours, own, key), grant(ours, own, stray)}, key, under(stray), true},
	} {
		d, _ := memDataset(t)
		l := &Lease{dataset: d}
		l.auth.signer, l.auth.chain = own, c.version
		h := codec.Header{}
		for _, s := range c.begun {
			h.Signers = append(h.Signers, json.RawMessage(s))
		}
		for _, s := range c.keys {
			h.Keys = append(h.Keys, json.RawMessage(s))
		}
		err := l.vouch(ctx, h, c.id, c.entries)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
