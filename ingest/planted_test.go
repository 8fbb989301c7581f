package ingest

import (
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
)

// Who can read a dataset and write into the vault can seal whatever records of an
// unfinished writer: none of it gets into the version that its owner signs. What the owner
// has recorded does.
func TestPlantedRecords(t *testing.T) {
	m := newWorld(t)
	first := m.writer(Options{ID: "etl"})
	put(t, first, "first", "of the owner")
	_, err := first.Commit(ctx)
	check(t, err)
	left := m.writer(Options{ID: "etl", AllowIncomplete: true})
	put(t, left, "recorded", "of the owner too")
	check(t, left.Checkpoint(ctx))
	check(t, left.Close())

	// The attacker's part: a pack with a file, and records that name it.
	d := m.open(m.store)
	set := objects.Of(d)
	v, err := d.Latest(ctx)
	check(t, err)
	key, err := set.Key(ctx, v.KeyID)
	check(t, err)
	pack, err := set.WritePack(ctx, key, func(to io.Writer) error { _, err := io.WriteString(to, "evil"); return err })
	check(t, err)
	var genuine *codec.Record
	var name string
	for o, err := range m.store.List(ctx, "d/pending/") {
		check(t, err)
		if n, ok := codec.ParsePending(o.Name); ok && !n.Lease {
			name = o.Name
			genuine, _, err = set.ReadRecord(ctx, o.Name)
			check(t, err)
		}
	}
	h, entries, err := set.Listed(genuine)
	check(t, err)
	evil := &tree.Entry{Path: "evil", Size: 4, Mode: 0o644, Extents: []tree.Extent{{Pack: &pack, Length: 4, Sum: sumOf(t, key, "evil")}}}
	list := func(entries ...*tree.Entry) []byte {
		b, err := codec.EncodeList(codec.PendingFormat, "d", h.Source, entries)
		check(t, err)
		return b
	}
	planted := 0
	plant := func(upload string, change func(r *codec.Record, upload string)) {
		planted++
		r := *genuine
		change(&r, upload)
		b, err := codec.EncodeRecord(&r)
		check(t, err)
		check(t, set.SealData(ctx, key, "d/pending/"+upload+"/00000001.vpk", b))
	}
	another := func() string { return "0000000002-" + strings.Repeat(string(rune('a'+planted)), 26) }
	attacker, short := signing.GenerateKey(), signing.GenerateKey()
	own, err := chain.New(ctx, "d", attacker)
	check(t, err)
	sign := func(r *codec.Record, s signing.Signer, upload string) {
		r.Signed, err = chain.SignRecord(ctx, s, upload, 1, r.Sum())
		check(t, err)
	}
	plant(another(), func(r *codec.Record, upload string) { // certified by the attacker
		r.List = list(evil)
		r.Upload, err = own.CertifyUpload(ctx, attacker, upload, short.Public())
		check(t, err)
		sign(r, short, upload)
	})
	plant(another(), func(r *codec.Record, upload string) { // in a chain of the attacker's
		r.List, r.Signers = list(evil), own.Raw()
		r.Upload, err = own.CertifyUpload(ctx, attacker, upload, short.Public())
		check(t, err)
		sign(r, short, upload)
	})
	plant(another(), func(r *codec.Record, upload string) { r.List = list(evil); sign(r, short, upload) }) // the owner's certificate
	plant(another(), func(r *codec.Record, _ string) { r.List = list(evil) })
	plant(another(), func(r *codec.Record, _ string) { r.Upload, r.Signed, r.List = "null", "null", list(evil) })
	plant(another(), func(*codec.Record, string) {}) // a copy of the owner's

	last := m.writer(Options{ID: "etl"})
	put(t, last, "last", "of the owner again")
	_, err = last.Commit(ctx)
	check(t, err)
	_, got := m.latest()
	if want := []string{"first", "last", "recorded"}; !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Errorf("the version has %v, want %v", slices.Sorted(maps.Keys(got)), want)
	}

	// In the place of a record that was vouched for another is not read.
	left = m.writer(Options{ID: "etl", Mode: Update})
	put(t, left, "recorded", "changed by the owner")
	check(t, left.Checkpoint(ctx))
	check(t, left.Close())
	for o, err := range m.store.List(ctx, "d/pending/") {
		check(t, err)
		if n, ok := codec.ParsePending(o.Name); ok && !n.Lease && o.Name != name {
			r, _, err := set.ReadRecord(ctx, o.Name)
			if err != nil || n.Number < 3 {
				continue
			}
			r.List = list(append(entries, evil)...)
			b, err := codec.EncodeRecord(r)
			check(t, err)
			check(t, set.SealData(ctx, key, o.Name, b))
		}
	}
	last = m.writer(Options{ID: "etl", Mode: Update})
	_, err = last.Commit(ctx)
	check(t, err)
	if _, got := m.latest(); got["evil"] != "" || got["recorded"] != "of the owner too" {
		t.Errorf("the version has %v", got)
	}
}

func sumOf(t *testing.T, key *envelope.DataKey, text string) envelope.ContentSum {
	t.Helper()
	h, err := envelope.NewContentHash(key)
	check(t, err)
	_, err = io.WriteString(h, text)
	check(t, err)
	return h.Sum()
}
