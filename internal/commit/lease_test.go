package commit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// memDataset is a dataset in memory, in a time of its own.
func memDataset(t *testing.T) (*dataset.Dataset, *memstore.Store) {
	t.Helper()
	key := envelope.GenerateLocalKey()
	store := &memstore.Store{}
	d, err := dataset.Open(&vault.Vault{Store: store, Keys: &vault.Keys{Open: []envelope.KeyWrapper{key}, Wrap: []envelope.KeyWrapper{key}}}, "d")
	if err != nil {
		t.Fatal(err)
	}
	return d, store
}

func lease(t *testing.T, d *dataset.Dataset) *Lease {
	t.Helper()
	l, err := Begin(ctx, d, "test")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// upload makes a version of files, each in a pack of its own. Those of the version
// before are taken over. before is called before the commit.
func upload(t *testing.T, d *dataset.Dataset, before func(l *Lease), files ...string) (*dataset.Version, error) {
	t.Helper()
	l := lease(t, d)
	defer l.End(ctx)
	then := map[string]*tree.Entry{}
	var key *envelope.DataKey
	var err error
	if l.Previous() == nil {
		key, err = l.NewKey(ctx)
	} else {
		key, err = objects.Of(d).Key(ctx, l.Previous().KeyID)
		for e, err := range l.Previous().Entries(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			then[e.Path] = e
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	w := NewIndex(d, key, l.Previous())
	packs := map[envelope.ObjectID]*tree.Object{}
	for _, name := range files {
		e := then[name]
		if e == nil {
			o, err := objects.Of(d).WritePack(ctx, key, func(w io.Writer) error { _, err := io.WriteString(w, name); return err })
			if err != nil {
				t.Fatal(err)
			}
			e = &tree.Entry{Path: name, Mode: 0o644, Size: int64(len(name)), ModTime: time.Unix(1, 0), Extents: []tree.Extent{{Pack: &o, Length: int64(len(name))}}}
		} else {
			packs[e.Extents[0].Pack.ID] = e.Extents[0].Pack
		}
		if err := w.Add(ctx, e, Step{Unchanged: then[name] != nil}); err != nil {
			t.Fatal(err)
		}
	}
	c, _, err := w.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if before != nil {
		before(l)
	}
	c.Relied = packs
	return l.Commit(ctx, key, c)
}

func names(t *testing.T, s vault.Store, prefix string) (out []string) {
	t.Helper()
	for o, err := range s.List(ctx, prefix) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o.Name)
	}
	return out
}

// Whatever a version relies on and is gone fails its commit, and the same upload
// again succeeds, or says that it cannot.
func TestCommitLooks(t *testing.T) {
	for what, c := range map[string]struct {
		spoil func(t *testing.T, d *dataset.Dataset, s *memstore.Store, l *Lease)
		want  error
	}{
		"nothing": {func(*testing.T, *dataset.Dataset, *memstore.Store, *Lease) {}, nil},
		"the lease": {func(t *testing.T, d *dataset.Dataset, s *memstore.Store, l *Lease) {
			s.Delete(ctx, l.name())
		}, dataset.ErrCollected},
		"the keyring": {func(t *testing.T, d *dataset.Dataset, s *memstore.Store, l *Lease) {
			s.Delete(ctx, names(t, s, "d/keys/")[0])
		}, dataset.ErrCollected},
		"a pack that is taken over": {func(t *testing.T, d *dataset.Dataset, s *memstore.Store, l *Lease) {
			for e, err := range l.prev.Entries(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				s.Delete(ctx, objects.Of(d).PackName(e.Extents[0].Pack.ID))
			}
		}, dataset.ErrCollected},
		"the end of one": {func(t *testing.T, d *dataset.Dataset, s *memstore.Store, l *Lease) {
			for e, err := range l.prev.Entries(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				s.Put(ctx, objects.Of(d).PackName(e.Extents[0].Pack.ID), func(w io.Writer) error { _, err := io.WriteString(w, "short"); return err })
			}
		}, dataset.ErrCollected},
		"the version before": {func(t *testing.T, d *dataset.Dataset, s *memstore.Store, l *Lease) {
			objects.Of(d).PutMark(ctx, l.prev.Number, codec.RemovedMark)
		}, dataset.ErrConflict},
		"the number": {func(t *testing.T, d *dataset.Dataset, s *memstore.Store, l *Lease) {
			s.Create(ctx, objects.Of(d).VersionName(l.number), []byte(codec.ClosedMark))
		}, dataset.ErrConflict},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			d, s := memDataset(t)
			if _, err := upload(t, d, nil, "a", "b"); err != nil {
				t.Fatal(err)
			}
			_, err := upload(t, d, func(l *Lease) { c.spoil(t, d, s, l) }, "a", "b", "c")
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("the commit: %v, want %v", err, c.want)
			}
		})
	}
	t.Run("an index part that is taken over", func(t *testing.T) {
		defer func(n int) { PartEntries = n }(PartEntries)
		PartEntries = 2
		d, s := memDataset(t)
		if _, err := upload(t, d, nil, "a", "b", "c", "d"); err != nil {
			t.Fatal(err)
		}
		_, err := upload(t, d, func(l *Lease) { s.Delete(ctx, objects.Of(d).IndexName(l.prev.Parts[0].ID)) }, "a", "b", "c", "d", "e")
		if !errors.Is(err, dataset.ErrCollected) {
			t.Errorf("the commit: %v", err)
		}
	})
}

// Numbers that are closed or removed are no versions, and stay taken.
func TestNumbersThatAreTaken(t *testing.T) {
	d, s := memDataset(t)
	mark := func(n int64) {
		if err := s.Create(ctx, objects.Of(d).VersionName(n), []byte(codec.ClosedMark)); err != nil {
			t.Fatal(err)
		}
	}
	mark(1)
	if _, err := d.Latest(ctx); !errors.Is(err, dataset.ErrUnknownDataset) {
		t.Errorf("Latest of a closed number: %v", err)
	}
	for _, want := range []int64{2, 3} {
		if v, err := upload(t, d, nil, fmt.Sprint(want), "a"); err != nil || v.Number != want || v.Parent != (want-1)/2*2 {
			t.Fatalf("%+v, %v", v, err)
		}
	}
	mark(4)
	mark(5)
	if v, err := d.Latest(ctx); err != nil || v.Number != 3 {
		t.Errorf("Latest: %v, %v", v, err)
	}
	if n, err := d.Versions(ctx); err != nil || !slices.Equal(n, []int64{2, 3}) {
		t.Errorf("Versions: %v, %v", n, err)
	}
	if err := d.RemoveVersion(ctx, 3); err == nil || !strings.Contains(err.Error(), "newest") {
		t.Errorf("removing the newest: %v", err)
	}
	for _, n := range []int64{1, 4, 5, 6} {
		if _, err := d.Version(ctx, n); !errors.Is(err, dataset.ErrUnknownVersion) {
			t.Errorf("Version(%d): %v", n, err)
		}
		if err := d.RemoveVersion(ctx, n); !errors.Is(err, dataset.ErrUnknownVersion) {
			t.Errorf("RemoveVersion(%d): %v", n, err)
		}
	}
	v, err := upload(t, d, nil, "a")
	if err != nil || v.Number != 6 || v.Parent != 3 {
		t.Fatalf("%+v, %v", v, err)
	}
	if err := d.RemoveVersion(ctx, 3); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(ctx, objects.Of(d).VersionName(3), []byte("x")); err == nil {
		t.Error("the number of a version that was removed is free")
	}
	if _, err := verify.Run(ctx, v, verify.Options{Sample: 1}); err != nil {
		t.Error(err)
	}
	// What is only cut to the size of a mark is none.
	cut := func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("x", len(codec.ClosedMark)))
		return err
	}
	if err := s.Put(ctx, objects.Of(d).VersionName(6), cut); err != nil {
		t.Fatal(err)
	}
	if v, err := d.Latest(ctx); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("Latest of a version that is cut: %v, %v", v, err)
	}
	if _, err := d.Collect(ctx, dataset.CollectOptions{}); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("a collection of a version that is cut: %v", err)
	}
}

// What an upload that has not ended does to a collection, by the age of its lease.
func TestCollectionAndLeases(t *testing.T) {
	for _, c := range []struct {
		what          string
		age           time.Duration
		record, Taken bool
		grace         time.Duration
		end           bool
		busy, dead    bool
		closed        int64
	}{
		{what: "young", busy: true},
		{what: "of tomorrow", age: -24 * time.Hour, busy: true},
		{what: "almost old", age: objects.LeaseTTL - time.Minute, busy: true},
		{what: "old", age: objects.LeaseTTL + time.Second, closed: 2},
		{what: "young, and ended by hand", end: true, closed: 2},
		{what: "young, and its number is taken", Taken: true, closed: 3},
		{what: "old, with a young record", age: objects.LeaseTTL + time.Second, record: true, grace: time.Hour, busy: true, dead: true},
		{what: "old, with an old record", age: 2 * time.Hour, record: true, grace: time.Hour, closed: 2},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			d, s := memDataset(t)
			if _, err := upload(t, d, nil, "a"); err != nil {
				t.Fatal(err)
			}
			l := lease(t, d)
			defer l.stop()
			key, err := objects.Of(d).Key(ctx, l.prev.KeyID)
			if err != nil {
				t.Fatal(err)
			}
			pack, err := objects.Of(d).WritePack(ctx, key, func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err })
			if err != nil {
				t.Fatal(err)
			}
			if c.record {
				if err := l.Record(ctx, key, []*tree.Entry{{Path: "x", Size: 1, ModTime: time.Unix(1, 0), Extents: []tree.Extent{{Pack: &pack, Length: 1}}}}); err != nil {
					t.Fatal(err)
				}
			}
			if c.Taken {
				if _, err := upload(t, d, nil, "a", "b"); err != nil {
					t.Fatal(err)
				}
			}
			s.Age(c.age)
			for _, dry := range []bool{true, false} {
				before := names(t, s, "")
				g, err := d.Collect(ctx, dataset.CollectOptions{Grace: c.grace, EndUploads: c.end, DryRun: dry})
				var busy *dataset.BusyError
				if errors.Is(err, dataset.ErrBusy) != c.busy || errors.As(err, &busy) && (busy.Dead != c.dead || busy.Dataset != "d") || !c.busy && err != nil {
					t.Fatalf("dry %v: %v", dry, err)
				}
				if after := names(t, s, ""); (dry || c.busy) && !slices.Equal(before, after) {
					t.Fatalf("dry %v: something was changed:\n%s\n%s", dry, before, after)
				}
				if !c.busy && (g.Closed != c.closed || g.Packs != 1 || g.Leases != 1) {
					t.Errorf("dry %v: %+v", dry, g)
				}
			}
			if c.busy {
				return
			}
			if err := s.Create(ctx, objects.Of(d).VersionName(c.closed), nil); err == nil {
				t.Error("the number was not closed")
			}
			if left := names(t, s, "d/pending/"); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			if _, err := l.Commit(ctx, key, Contents{}); !errors.Is(err, dataset.ErrCollected) {
				t.Errorf("the upload that slept: %v", err)
			}
		})
	}
}

// Objects in pending/ that are neither leases nor records stop nobody.
func TestStrangersAmongTheRecords(t *testing.T) {
	d, s := memDataset(t)
	strange := []string{"d/pending/README", "d/pending/x/README", "d/pending/x/00000001.vpk", "d/pending/x.lease",
		"d/pending/0000000001-" + strings.Repeat("a", 26) + "/x/1.vpk"}
	for _, name := range strange {
		if err := s.Create(ctx, name, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := upload(t, d, nil, "a"); err != nil {
		t.Fatal(err)
	}
	g, err := d.Collect(ctx, dataset.CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(g.Strange)
	slices.Sort(strange)
	if !slices.Equal(g.Strange, strange) || len(names(t, s, "d/pending/")) != len(strange) {
		t.Errorf("strange: %q", g.Strange)
	}
}

// A dataset is not removed under an upload, and one that has slept makes no version
// of a dataset that is gone.
func TestRemovalAndUploads(t *testing.T) {
	d, s := memDataset(t)
	if _, err := upload(t, d, nil, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := upload(t, d, nil, "a", "b"); err != nil {
		t.Fatal(err)
	}
	l := lease(t, d)
	defer l.stop()
	key, err := objects.Of(d).Key(ctx, l.prev.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Remove(ctx, dataset.RemoveOptions{}); !errors.Is(err, dataset.ErrBusy) {
		t.Fatalf("under an upload: %v", err)
	}
	r, err := d.Remove(ctx, dataset.RemoveOptions{EndUploads: true})
	if err != nil || !slices.Contains(r.Closed, 3) {
		t.Fatalf("%+v, %v", r, err)
	}
	_, sealed, err := l.seal(ctx, key, Contents{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(ctx, objects.Of(d).VersionName(l.number), sealed); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a commit after the look: %v", err)
	}
	for _, name := range names(t, s, "") {
		if filepath.Dir(name) != "d/versions" {
			t.Errorf("%s is left", name)
		}
	}
	if v, err := upload(t, d, nil, "a"); err != nil || v.Parent != 0 {
		t.Errorf("the next upload: %+v, %v", v, err)
	}
	if _, err := d.Remove(ctx, dataset.RemoveOptions{}); err != nil || len(names(t, s, "")) > 0 {
		t.Errorf("%v; left: %q", err, names(t, s, ""))
	}
}
