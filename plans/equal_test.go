package plans_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/plans"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

const packSize = 16 << 10

// A place is a vault in memory, which any number of processes open.
type place struct {
	*memstore.Store
	key *envelope.LocalKey
}

func newPlace() *place { return &place{&memstore.Store{}, envelope.GenerateLocalKey()} }

// open opens the dataset as a process of its own does.
func (p *place) open(t testing.TB) *dataset.Dataset { return p.over(t, p.Store) }

func (p *place) over(t testing.TB, store vault.Store) *dataset.Dataset {
	t.Helper()
	keys := []envelope.KeyWrapper{p.key}
	d, err := dataset.Open(&vault.Vault{Store: store, Location: "memory://", Keys: &vault.Keys{Open: keys, Wrap: keys}}, "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// source makes a folder with awkward cases, samples, large files and many small ones.
func source(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	treetest.Odd(t, dir, packSize)
	for i := range 40 {
		folder := filepath.Join(dir, "many", fmt.Sprintf("class%d", i%4))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, ext := range []string{"", ".jpg", ".cls.txt", ".json"} {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("s%03d%s", i, ext)), treetest.Bytes(int64(100*i), byte(i)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func options(checksum bool) uploader.Options {
	return uploader.Options{PackSize: packSize, Checksum: checksum, Concurrency: 2}
}

// listing says what a version has, but for where the contents lie.
func listing(t testing.TB, v *dataset.Version) (lines []string) {
	t.Helper()
	for e, err := range v.Entries(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%q %d %v %v %q %x", e.Path, e.Size, e.Mode, e.ModTime.UTC(), e.Link, e.Sum))
	}
	return lines
}

func same(t testing.TB, got, want *dataset.Version) {
	t.Helper()
	g, w := listing(t, got), listing(t, want)
	if strings.Join(g, "\n") != strings.Join(w, "\n") {
		t.Errorf("version %d has %d entries and not the %d of version %d:\n%s\n\n%s", got.Number, len(g), len(w), want.Number, strings.Join(g, "\n"), strings.Join(w, "\n"))
	}
	a, b := got.Totals, want.Totals
	if a.Files != b.Files || a.Folders != b.Folders || a.Links != b.Links || a.Bytes != b.Bytes || a.Flaws != 0 {
		t.Errorf("the totals are %+v and not %+v", a, b)
	}
	x, y := objects.RootOf(got), objects.RootOf(want)
	if x.Tree != y.Tree || x.HasTree != y.HasTree {
		t.Errorf("the contents have the digest %x (%v) and not %x (%v)", x.Tree, x.HasTree, y.Tree, y.HasTree)
	}
	if _, err := verify.Run(t.Context(), got, verify.Options{}); err != nil {
		t.Errorf("verify: %v", err)
	}
}

// What any number of workers make is what one upload makes, and after a collection
// nothing is left of the plan.
func TestWorkersMakeWhatAnUploadMakes(t *testing.T) {
	dir := source(t)
	for _, checksum := range []bool{true, false} {
		alone := newPlace().open(t)
		pushed, err := uploader.Upload(t.Context(), alone, dir, options(checksum))
		if err != nil {
			t.Fatal(err)
		}
		shards := []int{1, 7, 64}
		if !checksum {
			shards = []int{200} // more than there is to cut
		}
		for _, n := range shards {
			t.Run(fmt.Sprintf("%d shards, checksum %v", n, checksum), func(t *testing.T) {
				p := newPlace()
				d := p.open(t)
				plan, err := plans.Make(t.Context(), d, dir, plans.MakeOptions{Shards: n, Upload: options(checksum)})
				if err != nil {
					t.Fatal(err)
				}
				joined := work(t, p, plan)
				same(t, joined.Version, pushed.Version)
				p.Age(48 * time.Hour)
				onlyNeeded(t, p, d)
			})
		}
	}
}

// work does all shards of a plan, several at a time, each in a process of its own that
// commits at its end, and returns the commit that made the version.
func work(t testing.TB, p *place, plan *plans.Plan) *plans.CommitResult {
	t.Helper()
	var mu sync.Mutex
	var made *plans.CommitResult
	commits := 0
	var wg sync.WaitGroup
	shards := make(chan int)
	for range 4 {
		wg.Go(func() {
			for n := range shards {
				d := p.open(t)
				res, err := plans.Work(t.Context(), d, plan.Reference, n, plans.WorkOptions{})
				if err != nil {
					t.Errorf("shard %d: %v", n, err)
					continue
				}
				if want := plan.Shards[n].Entries > 0; res.Finished != want {
					t.Errorf("shard %d: finished is %v", n, res.Finished)
				}
				joined, err := plans.Commit(t.Context(), d, plan.Reference, plans.CommitOptions{})
				var missing *plans.MissingError
				if errors.As(err, &missing) {
					continue
				}
				if err != nil {
					t.Errorf("commit after shard %d: %v", n, err)
					continue
				}
				mu.Lock()
				if joined.Committed {
					made = joined
					commits++
				}
				mu.Unlock()
			}
		})
	}
	for n := range plan.Shards {
		shards <- n
	}
	close(shards)
	wg.Wait()
	if commits != 1 {
		t.Fatalf("%d commits have made a version", commits)
	}
	return made
}

// onlyNeeded collects, and fails if anything is left that no version needs, or missing
// that one does.
func onlyNeeded(t testing.TB, p *place, d *dataset.Dataset) {
	t.Helper()
	if _, err := d.Collect(t.Context(), dataset.CollectOptions{Grace: time.Hour}); err != nil {
		t.Fatal(err)
	}
	needed := map[string]bool{}
	all, err := objects.Of(d).Numbers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all.Versions() {
		v, err := d.Version(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range v.Parts {
			needed[objects.Of(d).IndexName(part.ID)] = true
		}
		for e, err := range v.Entries(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range e.Extents {
				needed[d.PackName(x.Pack.ID)] = true
			}
		}
	}
	for o, err := range p.List(context.Background(), "d/") {
		if err != nil {
			t.Fatal(err)
		}
		switch folder := strings.Split(o.Name, "/")[1]; folder {
		case "packs", "index":
			if !needed[o.Name] {
				t.Errorf("%s is left, and nothing needs it", o.Name)
			}
			delete(needed, o.Name)
		case "plans", "pending":
			t.Errorf("%s is left", o.Name)
		}
	}
	for name := range needed {
		t.Errorf("%s is missing", name)
	}
}
