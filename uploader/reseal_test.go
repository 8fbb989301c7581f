package uploader_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/rekey"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/vault"
)

// After a rotation the old contents are sealed again, as often as it is broken off,
// and without sending any pack twice; then nothing needs the old data key.
func TestReseal(t *testing.T) {
	v, src := newVault(t), filepath.Join(t.TempDir(), "src")
	treetest.Odd(t, src, int64(race.Rounds(3, 1))<<20)
	big := make([]byte, 10<<20)
	for i := range big {
		big[i] = byte(i >> 12)
	}
	put := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(src, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("big", big)
	upload(t, v, "d", src)
	put("big copy", big) // shares its extents, far away in the index
	put("a small one", []byte("small"))
	upload(t, v, "d", src)
	d := open(t, v, "d")
	if r, err := rekey.Reseal(ctx, d, rekey.Options{}); r.Made || err != nil {
		t.Fatalf("with one data key: made %v, %v", r.Made, err)
	}
	rotated, err := rekey.Rotate(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	put("new", []byte("new"))
	_, res := upload(t, v, "d", src) // one pack under the new key
	packs := res.Version.Totals.Packs

	full := v.Store
	var total int64
	for try := range 100 {
		broken := &breakingStore{Store: full, after: 1 + try%3}
		v.Store = broken
		r, err := rekey.Reseal(ctx, open(t, v, "d"), rekey.Options{})
		v.Store = full
		total += r.Packs
		if err != nil && !errors.Is(err, errBroken) {
			t.Fatal(err)
		}
		if err == nil && broken.puts == 0 && r.Made {
			t.Fatal("a version without a write")
		}
		if err == nil && r.Made {
			if r.Resumed == 0 || r.Version.Number != res.Version.Number+1 || r.Version.KeyID != rotated.KeyID {
				t.Errorf("after %d tries: version %d under %s, resumed %d packs", try+1, r.Version.Number, r.Version.KeyID, r.Resumed)
			}
			break
		}
		if latest, err := open(t, v, "d").Latest(ctx); err != nil || latest.Number != res.Version.Number {
			t.Fatalf("broken off, and the newest version is %d, %v", latest.Number, err)
		}
	}
	latest, err := open(t, v, "d").Latest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if total != packs-1 || latest.Totals.Packs != packs || latest.Totals.Files != res.Version.Totals.Files {
		t.Errorf("%d packs were sealed anew of %d; the version has %+v, before %+v", total, packs-1, latest.Totals, res.Version.Totals)
	}
	for e, err := range latest.Entries(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range e.Extents {
			if x.Pack.KeyID != rotated.KeyID || x.Sum == (envelope.ContentSum{}) {
				t.Errorf("%q: under %s, with the sum %x", e.Path, x.Pack.KeyID, x.Sum)
			}
		}
	}
	verified(t, latest)
	out := filepath.Join(t.TempDir(), "out")
	restoreTo(t, latest, out)
	treetest.Equal(t, src, out)
	older, err := rekey.UnderOtherKeys(ctx, d, latest.KeyID)
	if err != nil || !slices.Equal(older, []int64{1, 2, 3, 4}) {
		t.Errorf("under other keys: %v, %v", older, err)
	}
	for _, n := range older {
		if err := d.RemoveVersion(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(10 * time.Millisecond)
	if _, err := open(t, v, "d").Collect(ctx, dataset.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	if rings, err := d.Keyrings(ctx); err != nil || len(rings) != 1 || rings[0].ID() != latest.KeyID {
		t.Errorf("%d keyrings are left, %v", len(rings), err)
	}
	verified(t, latest)
	u, again := upload(t, v, "d", src)
	if again.Committed || u.SentFiles != 0 {
		t.Errorf("the next upload sends %d files", u.SentFiles)
	}
	if r, err := rekey.Reseal(ctx, open(t, v, "d"), rekey.Options{}); r.Made || err != nil {
		t.Errorf("once more: made %v, %v", r.Made, err)
	}
}

// A pack that was changed is not sealed again, which would make it authentic.
func TestResealOfATamperedPack(t *testing.T) {
	v, src := newVault(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "f"), make([]byte, 2<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	_, res := upload(t, v, "d", src)
	d := open(t, v, "d")
	if _, err := rekey.Rotate(ctx, d); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(v.Location, "d/packs/*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{100, len(b) / 2, len(b) - 1} {
		b[at] ^= 1
		if err := os.WriteFile(names[0], b, 0o644); err != nil {
			t.Fatal(err)
		}
		b[at] ^= 1
		if r, err := rekey.Reseal(ctx, open(t, v, "d"), rekey.Options{}); r.Made || !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("byte %d changed: made %v, %v", at, r.Made, err)
		}
		if left, _ := filepath.Glob(filepath.Join(v.Location, "d/packs/*")); len(left) != 1 {
			t.Errorf("byte %d changed: %d packs are there", at, len(left))
		}
	}
	if latest, err := d.Latest(ctx); err != nil || latest.Number != res.Version.Number+1 {
		t.Errorf("the newest version is %d, %v", latest.Number, err)
	}
}

var errBroken = errors.New("broken off")

// A breakingStore fails to store packs from a certain one on.
type breakingStore struct {
	vault.Store
	after, puts int
}

func (s *breakingStore) Unwrap() vault.Store { return s.Store }

func (s *breakingStore) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if s.puts++; strings.Contains(name, "/packs/") {
		if s.after--; s.after < 0 {
			return errBroken
		}
	}
	return s.Store.Put(ctx, name, write)
}
