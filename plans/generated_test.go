package plans

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/cut"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// generated yields what a folder of n files would have, in samples of two.
func generated(n int, take func(uploader.Found) error) error {
	if err := take(uploader.Found{Entry: &tree.Entry{}, Cut: true}); err != nil {
		return err
	}
	for i := range n {
		folder := fmt.Sprintf("d%07d/", i/1000)
		if i%1000 == 0 {
			if err := take(uploader.Found{Entry: &tree.Entry{Path: folder}, Cut: true}); err != nil {
				return err
			}
		}
		ext := []string{"cls", "jpg"}[i%2]
		e := &tree.Entry{Path: fmt.Sprintf("%ss%09d.%s", folder, i/2, ext), Size: int64(i * 7919 % 200_000), Mode: 0o644, ModTime: time.Unix(int64(i), 0)}
		if err := take(uploader.Found{Entry: e, More: i%2 == 0, Cut: i%2 == 0}); err != nil {
			return err
		}
	}
	return nil
}

// However many files come, the shards are about equal, are all of the
// files, and no sample is cut.
func TestCutsAreBalanced(t *testing.T) {
	for _, x := range []struct{ files, shards int }{{0, 3}, {1, 1}, {5, 3}, {300_000, 1}, {300_000, 64}, {30_000, 1000}} {
		c := cut.New(x.shards)
		if err := generated(x.files, func(f uploader.Found) error {
			c.Add(quality(f), f.Path, weighed(f))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		shards := shardsOf(c.Runs(x.shards))
		total := c.Total()
		mean, sum, last := total.Weight()/int64(x.shards), cut.Place{}, ""
		for n, s := range shards {
			p := cut.Place{Entries: s.Entries, Files: s.Files, Bytes: s.Bytes}
			if w := p.Weight(); x.files > 20*x.shards && (w > mean*5/4 || w < mean*3/4) {
				t.Errorf("%d files in %d shards: shard %d weighs %d, the mean is %d", x.files, x.shards, n, w, mean)
			}
			if s.Entries > 0 && (sum.Entries > 0 && s.From <= last || filepath.Ext(s.From) == ".jpg") {
				t.Errorf("shard %d begins with %q", n, s.From)
			}
			last = max(last, s.From)
			sum.Entries, sum.Files, sum.Bytes = sum.Entries+s.Entries, sum.Files+s.Files, sum.Bytes+s.Bytes
		}
		if len(shards) != x.shards || sum.Entries != total.Entries || sum.Files != int64(x.files) || sum.Bytes != total.Bytes {
			t.Errorf("%d files in %d shards: %d shards of %+v", x.files, x.shards, len(shards), sum)
		}
	}
}

// VAULTPACK_PLAN_FILES=10000000 writes and measures a plan of that many files, which do not
// exist, in a directory.
func TestPlanOfGeneratedFiles(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("VAULTPACK_PLAN_FILES"))
	if err != nil {
		t.Skip("not asked for: VAULTPACK_PLAN_FILES=N")
	}
	keys := []envelope.KeyWrapper{envelope.GenerateLocalKey()}
	store, err := vault.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Open(&vault.Vault{Store: store, Keys: &vault.Keys{Open: keys, Wrap: keys}}, "d")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l, err := commit.Begin(t.Context(), d, "plan")
	if err != nil {
		t.Fatal(err)
	}
	defer l.End(t.Context())
	f, err := l.NewDraft(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.Source, f.Links, f.PackSize = "/generated", "keep", uploader.DefaultPackSize
	began := time.Now()
	w := &writer{ctx: t.Context(), draft: f, cut: cut.New(1000)}
	if err := generated(n, w.take); err != nil {
		t.Fatal(err)
	}
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	f.Totals, f.Shards = w.totals, shardsOf(w.cut.Runs(1000))
	if _, err := f.Store(t.Context()); err != nil {
		t.Fatal(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d files in %v, %d pages, %d MiB from the system", n, time.Since(began).Round(time.Second), len(f.Pages), m.Sys>>20)
}
