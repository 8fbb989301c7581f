package commit

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/race"
)

// An index written over random changes is always the list that was added, and
// takes over the parts in which nothing has changed.
func TestIndex(t *testing.T) {
	defer func(n int) { PartEntries = n }(PartEntries)
	PartEntries = 16
	d := newDataset(t)
	var key *envelope.DataKey
	rng := rand.New(rand.NewPCG(1, 2))
	list := map[string]int64{} // path to time
	for i := range 300 {
		list[fmt.Sprintf("%04d", i*10)] = 1
	}
	var prev *dataset.Version
	var before map[string]int64
	touched := 0
	for round := range race.Rounds(300, 60) {
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
		l, err := Begin(ctx, d, "test")
		if err != nil {
			t.Fatal(err)
		}
		if key, err = l.SealingKey(ctx); err != nil {
			t.Fatal(err)
		}
		w := NewIndex(d, key, prev)
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
			if err := w.Add(ctx, e, Step{Unchanged: ok && then == list[p], Gap: gap}); err != nil {
				t.Fatal(err)
			}
		}
		c, changed, err := w.Finish(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if want := !reflect.DeepEqual(list, before); changed != want {
			t.Fatalf("round %d: changed = %v, want %v", round, changed, want)
		}
		var v *dataset.Version
		if changed {
			v, err = l.Commit(ctx, key, c)
		}
		if err := errors.Join(err, l.End(ctx)); err != nil {
			t.Fatal(err)
		}
		if !changed {
			continue
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
		if !reflect.DeepEqual(got, list) || c.Totals.Folders != int64(len(list)) {
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
		for _, p := range c.Parts {
			if p.Entries > 2*PartEntries {
				t.Errorf("round %d: a part of %d entries", round, p.Entries)
			}
		}
		prev, before = v, maps.Clone(list)
	}
}
