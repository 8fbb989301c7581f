package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/vault"
)

var ctx = context.Background()

func newDataset(t testing.TB) *Dataset {
	t.Helper()
	dir := t.TempDir()
	v, _, err := config.Init(ctx, &config.Config{
		Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(v, "d")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// An index written over random changes is always the list that was added, and
// takes over the parts in which nothing has changed.
func TestIndexWriter(t *testing.T) {
	defer func(n int) { partEntries = n }(partEntries)
	partEntries = 16
	d := newDataset(t)
	key, err := d.set().NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	list := map[string]int64{} // path to time
	for i := range 300 {
		list[fmt.Sprintf("%04d", i*10)] = 1
	}
	var prev *Version
	var before map[string]int64
	touched := 0
	for round := range 300 {
		if round > 0 {
			touched = 0
			for range rng.IntN(4) {
				touched++
				p := fmt.Sprintf("%04d", rng.IntN(3000))
				switch rng.IntN(3) {
				case 0:
					list[p] = int64(round)
				case 1:
					delete(list, slices.Sorted(maps.Keys(list))[rng.IntN(len(list))])
				case 2: // a run of neighbours
					all := slices.Sorted(maps.Keys(list))
					at := rng.IntN(len(all))
					for _, p := range all[at:min(at+rng.IntN(40), len(all)-1)] {
						delete(list, p)
						touched++
					}
				}
			}
			for len(list) < 200 {
				list[fmt.Sprintf("%04d", rng.IntN(3000))] = int64(round)
				touched++
			}
		}
		w := d.NewIndexWriter(key, prev)
		paths := slices.Sorted(maps.Keys(list))
		old := slices.Sorted(maps.Keys(before))
		for _, p := range paths {
			gap := false
			for len(old) > 0 && old[0] <= p {
				gap = gap || old[0] < p
				old = old[1:]
			}
			then, ok := before[p]
			e := &tree.Entry{Path: p + "/", ModTime: time.Unix(list[p], 0)}
			if err := w.Add(ctx, e, ok && then == list[p], gap); err != nil {
				t.Fatal(err)
			}
		}
		parts, totals, changed, err := w.Finish(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if want := !reflect.DeepEqual(list, before); changed != want {
			t.Fatalf("round %d: changed = %v, want %v", round, changed, want)
		}
		if !changed {
			continue
		}
		v, err := d.commit(ctx, key, int64(round+1), prev, parts, totals)
		if err != nil {
			t.Fatal(err)
		}
		if v, err = d.Version(ctx, v.Number); err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for e, err := range v.Entries(ctx) {
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			got[e.Path[:4]] = e.ModTime.Unix()
		}
		if !reflect.DeepEqual(got, list) || totals.Folders != int64(len(list)) {
			t.Fatalf("round %d: the index holds %d entries, want %d", round, len(got), len(list))
		}
		for _, p := range []string{paths[0], paths[len(paths)/2], paths[len(paths)-1]} {
			if e, err := v.Lookup(ctx, p); err != nil || e.Path != p+"/" {
				t.Fatalf("Lookup(%q): %v", p, err)
			}
		}
		// One change costs its part, and a neighbour that is too small to stand alone.
		if prev != nil && touched == 1 && w.reused < len(prev.Parts)-2 {
			t.Errorf("round %d: %d of %d parts taken over", round, w.reused, len(prev.Parts))
		}
		for _, p := range parts {
			if p.Entries > 2*partEntries {
				t.Errorf("round %d: a part of %d entries", round, p.Entries)
			}
		}
		prev, before = v, maps.Clone(list)
	}
}

// indexReads counts the parts of indexes that are read.
type indexReads struct {
	vault.Store
	n atomic.Int64
}

func (s *indexReads) Unwrap() vault.Store { return s.Store }

func (s *indexReads) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if strings.Contains(name, "/index/") {
		s.n.Add(1)
	}
	return s.Store.Get(ctx, name, off, n)
}

// Who goes through a version reads each part once, one ahead of its use; who
// looks for one file reads the part that it is in.
func TestEntriesReadAhead(t *testing.T) {
	defer func(n int) { partEntries = n }(partEntries)
	partEntries = 16
	d := newDataset(t)
	var entries []*tree.Entry
	for i := range 64 {
		entries = append(entries, &tree.Entry{Path: fmt.Sprintf("%04d/", i), ModTime: time.Unix(1, 0)})
	}
	v := commitEntries(t, d, entries)
	store := &indexReads{Store: d.set().Vault.Store}
	d.set().Vault.Store = store
	take := func(from string, most int) (n int, err error) {
		store.n.Store(0)
		for _, err := range v.EntriesFrom(ctx, from) {
			if err != nil {
				return n, err
			}
			if n++; n == most {
				break
			}
		}
		return n, nil
	}
	for _, c := range []struct {
		from              string
		most, want, reads int
	}{
		{"", 1, 1, 1}, {"0020/", 1, 1, 1}, {"", readAhead, readAhead, 1},
		{"", 17, 17, 2}, {"", 0, 64, 4}, {"0015/", 0, 49, 4}, {"0060/", 0, 4, 1}, {"x", 0, 0, 1},
	} {
		n, err := take(c.from, c.most)
		if n != c.want || err != nil || store.n.Load() != int64(c.reads) {
			t.Errorf("%d from %q: %d entries, %v, %d parts read; want %d and %d", c.most, c.from, n, err, store.n.Load(), c.want, c.reads)
		}
	}
	// A part that cannot be read is told in its place.
	if err := store.Delete(ctx, d.set().IndexName(v.Parts[2].ID)); err != nil {
		t.Fatal(err)
	}
	if n, err := take("", 0); n != 32 || !errors.Is(err, ErrMissing) {
		t.Errorf("%d entries, then %v; want 32, then that the part is missing", n, err)
	}
	if n, err := take("", 20); n != 20 || err != nil {
		t.Errorf("%d entries, %v; the missing part comes later", n, err)
	}
}

// commitEntries makes the first version of a dataset, of entries without contents.
func commitEntries(t *testing.T, d *Dataset, entries []*tree.Entry) *Version {
	t.Helper()
	l, err := d.Lease(ctx, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer l.End(ctx)
	key, err := l.NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := d.NewIndexWriter(key, nil)
	for _, e := range entries {
		if err := w.Add(ctx, e, false, false); err != nil {
			t.Fatal(err)
		}
	}
	parts, totals, _, err := w.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v, err := l.Commit(ctx, key, parts, totals, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
