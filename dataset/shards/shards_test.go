package shards

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/datasettest"
)

// few files for each shard need not be balanced.
const few = 30

// made makes a version of about n files in folders, in packs of some files each.
func made(t *testing.T, n int) *dataset.Version {
	t.Helper()
	var paths []string
	for i := range n {
		folder := fmt.Sprintf("%c/", 'a'+i%5)
		if i%3 == 0 {
			folder += fmt.Sprintf("%d/", i%7)
		}
		paths = append(paths, folder, folder[:2], fmt.Sprintf("%sf%06d", folder, rand.IntN(1e6)))
	}
	if n > 0 {
		paths = append(paths, "")
	}
	slices.Sort(paths)
	d, size := datasettest.New(t), envelope.SealedSize(1<<20)
	return datasettest.CommitWith(t, d, func(key *envelope.DataKey) (entries []*tree.Entry) {
		var pack *tree.Object
		for i, p := range slices.Compact(paths) {
			e := &tree.Entry{Path: p, Mode: 0o700, ModTime: time.Unix(1, 0)}
			if e.IsFile() {
				if pack == nil || i%4 == 0 {
					pack = &tree.Object{KeyID: key.ID(), Pin: envelope.Pin{Size: size}}
					pack.ID[0], pack.ID[1] = byte(i), byte(i>>8)
				}
				e.Mode, e.Size = fs.FileMode(0o600), int64(rand.IntN(100_000))
				e.Extents = []tree.Extent{{Pack: pack, Length: e.Size}}
			}
			entries = append(entries, e)
		}
		return entries
	})
}

// Whatever the number of shards, each entry is in one of them, each path that is in no
// version too, the sizes are told rightly, and they are about equal.
func TestShardsAreDisjointCompleteAndBalanced(t *testing.T) {
	defer func(a, b int) { commit.PartEntries, readParts = a, b }(commit.PartEntries, readParts)
	commit.PartEntries = 40
	for _, x := range []struct{ files, parts int }{{0, 512}, {1, 512}, {300, 512}, {300, 7}} {
		readParts = x.parts
		v := made(t, x.files)
		var all []*tree.Entry
		for e, err := range v.Entries(t.Context()) {
			check(t, err)
			all = append(all, e)
		}
		for _, n := range []int{1, 2, 7, 40} {
			at, packs := 0, map[envelope.ObjectID]int{}
			var cuts []*Shard
			for i := range n {
				s, err := Cut(t.Context(), v, i, n)
				check(t, err)
				cuts = append(cuts, s)
				if s.Entries > 0 && (s.First != int64(at) || all[at].Path != s.From) {
					t.Fatalf("%v begins at %d with %q, and not at %d", s, s.First, s.From, at)
				}
				first, end := s.Parts(v)
				count, bytes, seen := int64(0), int64(0), map[envelope.ObjectID]bool{}
				for e, err := range s.All(t.Context(), v) {
					check(t, err)
					if e.Path != all[at].Path {
						t.Fatalf("%v has %q, and not %q", s, e.Path, all[at].Path)
					}
					at++
					count++
					if e.IsFile() {
						bytes += e.Size
						seen[e.Extents[0].Pack.ID] = true
					}
				}
				for id := range seen {
					packs[id]++
				}
				if count != s.Entries || x.parts == 512 && bytes != s.Bytes {
					t.Errorf("%v tells %d entries, %d bytes, and has %d, %d", s, s.Entries, s.Bytes, count, bytes)
				}
				if mean := v.Totals.Bytes / int64(n); x.files > few*n && (bytes > 2*mean || bytes < mean/3) {
					t.Errorf("%d files, %d parts read: %v has %d bytes, the mean is %d", x.files, x.parts, s, bytes, mean)
				}
				if count > 0 && (v.Parts[first].First > s.From || s.To != "" && end < len(v.Parts) && v.Parts[end].First < s.To) {
					t.Errorf("%v is not in the parts %d to %d", s, first, end)
				}
			}
			if at != len(all) {
				t.Errorf("%d shards have %d of %d entries", n, at, len(all))
			}
			for id, in := range packs {
				if x.parts == 512 && in > 1 {
					t.Errorf("pack %v is in %d of %d shards", id, in, n)
				}
			}
			owners(t, cuts, all)
		}
	}
}

// owners tests that each path belongs to one shard, and what is said of folders.
func owners(t *testing.T, cuts []*Shard, all []*tree.Entry) {
	t.Helper()
	if len(all) == 0 {
		return
	}
	paths := []string{"", "0", "zz", "a/zz/", "b/f0/x"}
	for _, e := range all {
		paths = append(paths, e.Path, e.Path+"0")
	}
	for _, p := range paths {
		has := 0
		for _, s := range cuts {
			if s.Has(p) {
				has++
				for i := range p {
					if p[i] == '/' && !s.Meets(p[:i+1]) {
						t.Errorf("%v has %q, and does not meet %q", s, p, p[:i+1])
					}
				}
			}
		}
		if has != 1 {
			t.Errorf("%q is in %d shards", p, has)
		}
	}
	for _, f := range all {
		if !f.IsDir() {
			continue
		}
		in := 0
		for _, s := range cuts {
			for _, e := range all {
				if len(e.Path) > len(f.Path) && e.Path[:len(f.Path)] == f.Path && s.Has(e.Path) || e.Path == f.Path && s.Has(e.Path) {
					in++
					break
				}
			}
		}
		shares := 0
		for _, s := range cuts {
			if s.Shares(f.Path) {
				shares++
			}
		}
		if want := in; in == 1 && shares != 0 || in > 1 && shares != want {
			t.Errorf("%d shards have entries in %q, and %d share it", in, f.Path, shares)
		}
	}
}

// A shard of one version is not one of another, and numbers are checked.
func TestShardOfAnotherVersion(t *testing.T) {
	a, b := made(t, 5), made(t, 6)
	s, err := Cut(t.Context(), a, 0, 1)
	check(t, err)
	if s.Check(a) != nil || s.Check(b) == nil || (&Shard{}).Check(a) == nil {
		t.Error("a shard is taken for one of another version")
	}
	for _, x := range [][2]int{{-1, 3}, {3, 3}, {0, 0}, {0, Max + 1}} {
		if _, err := Cut(t.Context(), a, x[0], x[1]); err == nil {
			t.Errorf("there is a shard %d of %d", x[0], x[1])
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
