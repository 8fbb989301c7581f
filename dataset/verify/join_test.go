package verify_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/shards"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
)

// The shards of a version are sound together if each of them was found sound, and not if
// one is missing, of another version, was cut otherwise, or has other files.
func TestJoin(t *testing.T) {
	src := t.TempDir()
	treetest.Odd(t, src, 16<<10)
	d := datasettest.New(t)
	up, err := uploader.Upload(t.Context(), d, src, uploader.Options{PackSize: 16 << 10, Checksum: true})
	if err != nil {
		t.Fatal(err)
	}
	v := up.Version
	var parts []*verify.Part
	for i := range 4 {
		s, err := shards.Cut(t.Context(), v, i, 4)
		if err != nil {
			t.Fatal(err)
		}
		res, err := verify.Run(t.Context(), v, verify.Options{Shard: s})
		if err != nil {
			t.Fatal(err)
		}
		p, err := verify.PartOf(v, s, "", res)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		if p, err = verify.ReadPart(&b); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	total, err := verify.Join(t.Context(), v, slices.Clone(parts))
	if err != nil || total.Packs != v.Totals.Packs || total.Bytes != v.Totals.Bytes {
		t.Errorf("%+v of %+v: %v", total, v.Totals, err)
	}
	changed := func(n int, change func(p *verify.Part)) []*verify.Part {
		all := slices.Clone(parts)
		p := *all[n]
		p.Tree = slices.Clone(p.Tree)
		change(&p)
		all[n] = &p
		return all
	}
	for name, x := range map[string]struct {
		parts []*verify.Part
		want  string
	}{
		"none":                {nil, verify.ErrMissing.Error()},
		"one is missing":      {slices.Delete(slices.Clone(parts), 1, 2), "shard 1 of 4"},
		"the last is missing": {parts[:3], "shard 3 of 4"},
		"one twice":           {append(slices.Clone(parts), parts[2]), "two results of shard 2"},
		"of another version":  {changed(1, func(p *verify.Part) { p.Digest = strings.Repeat("0", 64) }), "digest"},
		"of another number":   {changed(1, func(p *verify.Part) { p.Of = 5 }), "two verifications"},
		"against a folder":    {changed(1, func(p *verify.Part) { p.Against = "/x" }), "two verifications"},
		"a gap":               {changed(2, func(p *verify.Part) { p.First++ }), "begins with entry"},
		"too few at the end":  {changed(3, func(p *verify.Part) { p.Entries-- }), ""},
		"other files":         {changed(2, func(p *verify.Part) { p.Tree[0][5] ^= 1 }), "not those that were signed"},
		"no hashes":           {changed(2, func(p *verify.Part) { p.Tree = nil }), "hashes"},
	} {
		if _, err := verify.Join(t.Context(), v, x.parts); err == nil || !strings.Contains(fmt.Sprint(err), x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "{}", `{"format":"vaultpack-verified/2"}`, `{"format":"vaultpack-verified/1","more":1}`, `{"format":"vaultpack-verified/1","tree":["0"]}`} {
		if p, err := verify.ReadPart(strings.NewReader(text)); err == nil {
			t.Errorf("%q is read as %+v", text, p)
		}
	}
	s, err := shards.Cut(t.Context(), v, 1, 4)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := verify.PartOf(v, s, "", verify.Result{}); err == nil {
		t.Errorf("what was not read is sound: %+v", p)
	}
	if _, err := verify.Join(t.Context(), v, nil); !errors.Is(err, verify.ErrMissing) {
		t.Error(err)
	}
}
