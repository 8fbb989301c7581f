package uploader_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
)

// Shuffled packs have files of all classes, in an order that follows from the names alone;
// samples stay together, what comes back is what was sent, and a later upload sends only
// what is new.
func TestShuffle(t *testing.T) {
	const size = 64 << 10
	src := t.TempDir()
	r := rand.NewChaCha8([32]byte{1})
	add := func(class string, i int) {
		t.Helper()
		b := make([]byte, 2000)
		r.Read(b)
		dir := filepath.Join(src, class)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, ext := range []string{".jpg", ".json"} {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d%s", i, ext)), b[:len(b)>>(len(ext)-4)], 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, class := range []string{"a", "b", "c"} {
		for i := range 90 {
			add(class, i)
		}
	}
	shuffle := func(u *uploader.Options) { u.PackSize, u.Shuffle = size, true }
	// layout is which files share a pack.
	layout := func(v *dataset.Version) (string, map[envelope.ObjectID]map[string]int) {
		ids, sample := map[envelope.ObjectID]int{}, map[string]envelope.ObjectID{}
		classes := map[envelope.ObjectID]map[string]int{}
		var b strings.Builder
		for e, err := range v.Entries(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if !e.IsFile() {
				continue
			}
			x := e.Extents[0]
			if _, known := ids[x.Pack.ID]; !known {
				ids[x.Pack.ID], classes[x.Pack.ID] = len(ids), map[string]int{}
			}
			class, _, _ := strings.Cut(e.Path, "/")
			classes[x.Pack.ID][class]++
			stem, _, _ := strings.Cut(e.Path, ".")
			if other, known := sample[stem]; known && other != x.Pack.ID {
				t.Errorf("the files of %s lie in two packs", stem)
			}
			sample[stem] = x.Pack.ID
			fmt.Fprintf(&b, "%s %d %d\n", e.Path, ids[x.Pack.ID], x.Offset)
			if n, err := x.Pack.PlaintextSize(); err != nil || n > size {
				t.Errorf("a pack has %d bytes, %v", n, err)
			}
		}
		return b.String(), classes
	}
	v := newVault(t)
	_, first := upload(t, v, "d", src, shuffle)
	_, again := upload(t, v, "other", src, shuffle)
	one, classes := layout(first.Version)
	if two, _ := layout(again.Version); one != two {
		t.Error("two uploads of the same files differ")
	}
	if len(classes) < 8 {
		t.Errorf("%d packs", len(classes))
	}
	for id, in := range classes {
		n := 0
		for _, files := range in {
			n += files
		}
		if n > 20 && len(in) < 3 {
			t.Errorf("pack %v has %v", id, in)
		}
	}
	add("a", 99)
	_, more := upload(t, v, "d", src, shuffle)
	if more.Stats.SentFiles != 2 {
		t.Errorf("%d files were sent again", more.Stats.SentFiles)
	}
	verified(t, more.Version)
	out := filepath.Join(t.TempDir(), "out")
	restoreTo(t, more.Version, out)
	treetest.Equal(t, src, out)
}
