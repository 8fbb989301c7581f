package commit

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/signing"
)

// A record of an unfinished upload is used if a signer has begun the upload, and it has
// signed the record as it is and where it lies, and if a signer has granted its data key
// and those of all packs that it names; where there is no version yet, if this signer has
// begun the dataset in it. So is one not that was planted by somebody who can read, or is
// another's.
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
	without, err := shared.Extend(ctx, own, 0, func(l *chain.Link) error { l.Writers = nil; return nil })
	if err != nil {
		t.Fatal(err)
	}
	list := func(entries ...*tree.Entry) []byte {
		b, err := codec.EncodeList(codec.PendingFormat, "d", "src", entries)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key, stray := envelope.KeyID{1}, envelope.KeyID{2}
	under := func(id envelope.KeyID) []*tree.Entry {
		pack := &tree.Object{ID: envelope.ObjectID{1}, KeyID: id, Pin: envelope.Pin{Size: envelope.SealedSize(100)}}
		return []*tree.Entry{{Path: "a", Size: 1, Extents: []tree.Extent{{Pack: pack, Length: 1}}}}
	}
	for name, c := range map[string]struct {
		version *chain.Chain // of the version before; nil where there is none
		begun   []string     // the signers in the record
		keys    []string
		id      envelope.KeyID
		entries []*tree.Entry
		ok      bool
		change  func(r *made) // nil for a record of the signer's own
	}{
		"begun here":                     {nil, ours.Raw(), []string{grant(ours, own, key)}, key, under(key), true, nil},
		"begun by another":               {nil, theirs.Raw(), []string{grant(theirs, other, key)}, key, under(key), false, nil},
		"begun by one who made us write": {nil, shared.Raw(), []string{grant(shared, own, key)}, key, under(key), true, nil},
		"begun by none":                  {nil, nil, nil, key, under(key), false, nil},
		"a key that is not granted":      {nil, ours.Raw(), []string{grant(ours, own, key)}, stray, under(key), false, nil},
		"a pack under another key":       {nil, ours.Raw(), []string{grant(ours, own, key)}, key, under(stray), false, nil},
		"a grant by a stranger":          {nil, ours.Raw(), []string{grant(theirs, other, key)}, key, under(key), false, nil},
		"after a version":                {ours, nil, []string{grant(ours, own, key)}, key, under(key), true, nil},
		"a writer's, after a version":    {shared, nil, []string{grant(shared, other, key)}, key, under(key), true, nil},
		"a stranger's, after a version":  {ours, nil, []string{grant(theirs, other, key)}, key, under(key), false, nil},
		"two keys":                       {ours, nil, []string{grant(ours, own, key), grant(ours, own, stray)}, key, under(stray), true, nil},
		"made by another writer":         {shared, nil, []string{grant(shared, own, key)}, key, under(key), true, func(r *made) { r.certify(shared, other) }},
		"made by who was removed":        {without, nil, []string{grant(without, own, key)}, key, under(key), false, func(r *made) { r.certify(shared, other) }},
		"made by a writer, by hand":      {shared, nil, []string{grant(shared, own, key)}, key, under(key), true, func(r *made) { r.certifyAt(shared, other, 2) }},
		"made by who was none then":      {shared, nil, []string{grant(shared, own, key)}, key, under(key), false, func(r *made) { r.certifyAt(shared, other, 1) }},
		"made by a stranger":             {ours, nil, []string{grant(ours, own, key)}, key, under(key), false, func(r *made) { r.certify(theirs, other) }},
		"made by a stranger, begun here": {nil, ours.Raw(), []string{grant(ours, own, key)}, key, under(key), false, func(r *made) { r.certify(theirs, other) }},
		"not signed":                     {ours, nil, []string{grant(ours, own, key)}, key, under(key), false, func(r *made) { r.record.Signed = "{}" }},
		"signed by the signer itself":    {ours, nil, []string{grant(ours, own, key)}, key, under(key), false, func(r *made) { r.sign(own) }},
		"signed with another key":        {ours, nil, []string{grant(ours, own, key)}, key, under(key), false, func(r *made) { r.sign(signing.GenerateKey()) }},
		"with other entries":             {ours, nil, []string{grant(ours, own, key)}, key, under(key), false, func(r *made) { r.record.List = list(under(key)[0], &tree.Entry{Path: "b"}) }},
		"under another number":           {ours, nil, []string{grant(ours, own, key)}, key, under(key), false, func(r *made) { r.name.Record++ }},
		"under the name of another":      {ours, nil, []string{grant(ours, own, key)}, key, under(key), false, func(r *made) { r.name.Upload = "0000000001-" + strings.Repeat("b", 26) }},
		"of another dataset of the name": {ours, nil, []string{grant(ours, own, key)}, key, under(key), false, func(r *made) { r.certify(begin(own), own) }},
	} {
		d, _ := memDataset(t)
		l := &Lease{dataset: d}
		l.auth.signer, l.auth.chain = own, c.version
		r := &made{t: t, record: codec.Record{List: list(c.entries...), Keys: c.keys, Signers: c.begun}}
		r.name, _ = codec.ParsePending("d/pending/0000000001-" + strings.Repeat("a", 26) + "/00000001.vpk")
		in, by := c.version, own
		switch {
		case in != nil:
		case c.begun == nil:
			in = ours
		default:
			if in, err = chain.Parse("d", c.begun, nil); err != nil {
				t.Fatal(err)
			}
		}
		if in.Last().Role(own.Public()) == chain.None {
			by = other
		}
		r.certify(in, by)
		if c.change != nil {
			c.change(r)
		}
		_, _, err := l.vouch(ctx, r.name, &r.record, c.id)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// made is a record as an upload makes it, to be changed.
type made struct {
	t      *testing.T
	name   codec.PendingName
	record codec.Record
}

// certify has the record be of an upload that s has begun as a signer of the chain.
func (r *made) certify(c *chain.Chain, s signing.Signer) {
	r.t.Helper()
	key := signing.GenerateKey()
	var err error
	if r.record.Upload, err = c.CertifyUpload(ctx, s, r.name.Upload, key.Public()); err != nil {
		r.t.Fatal(err)
	}
	r.sign(key)
}

// certifyAt is certify by one who says that he was a signer by another link.
func (r *made) certifyAt(c *chain.Chain, s signing.Signer, sequence int) {
	r.t.Helper()
	key := signing.GenerateKey()
	payload := fmt.Sprintf(`{"format":"vaultpack-upload/1","dataset":"d","id":"%s","upload":"%s","key":"%s","sequence":%d}`, c.ID(), r.name.Upload, key.Public(), sequence)
	raw, err := signing.Sign(ctx, s, "application/vnd.vaultpack.upload+json", []byte(payload))
	if err != nil {
		r.t.Fatal(err)
	}
	r.record.Upload = string(raw)
	r.sign(key)
}

// sign has the record be signed by s, whoever that is.
func (r *made) sign(s signing.Signer) {
	r.t.Helper()
	var err error
	if r.record.Signed, err = chain.SignRecord(ctx, s, r.name.Upload, r.name.Record, r.record.Sum()); err != nil {
		r.t.Fatal(err)
	}
}
