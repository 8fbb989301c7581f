package dataset_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// An object among the versions is one only if it has the name of one.
func TestStrayObjectsAreNoVersions(t *testing.T) {
	d := datasettest.New(t)
	v := datasettest.Commit(t, d, []*tree.Entry{{Path: "", Mode: 0o755, ModTime: time.Unix(1, 0)}})
	b, err := objects.Of(d).Get(ctx, objects.Of(d).VersionName(1), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"2.vpk", "0000000003", "0000000004.vpk.bak", "4294967297.vpk/5.vpk", "sub/0000000006.vpk", "+000000007.vpk", "00000000008.vpk"} {
		overwrite(t, d, d.Name+"/versions/"+name, b)
	}
	if got, err := d.Versions(ctx); err != nil || !slices.Equal(got, []int64{1}) {
		t.Errorf("the versions are %v, %v", got, err)
	}
	if got, err := d.Latest(ctx); err != nil || got.Digest() != v.Digest() {
		t.Errorf("the newest is %+v, %v", got, err)
	}
}

// The parts of an index have no path in common.
func TestPartsThatOverlapAreRefused(t *testing.T) {
	for paths, ok := range map[string]bool{"a b": true, "a a": false, "b a": false} {
		d := datasettest.New(t)
		l, err := commit.Begin(ctx, d, "test")
		if err != nil {
			t.Fatal(err)
		}
		key, err := l.NewKey(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var parts []tree.Part
		for i, p := range strings.Fields(paths) {
			w := commit.NewIndex(d, key, nil)
			for _, p := range [][]string{{"", p}, {p, "z"}}[i] {
				if err := w.Add(ctx, &tree.Entry{Path: p, ModTime: time.Unix(1, 0)}, commit.Step{}); err != nil {
					t.Fatal(err)
				}
			}
			more, _, err := w.Finish(ctx)
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, more.Parts...)
		}
		v, err := l.Commit(ctx, key, commit.Contents{Parts: parts, Totals: tree.Totals{Files: 4}})
		if err := errors.Join(err, l.End(ctx)); err != nil {
			t.Fatal(err)
		}
		for _, err = range v.Entries(ctx) {
			if err != nil {
				break
			}
		}
		if (err == nil) != ok || !ok && !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("parts that end and begin with %s: %v", paths, err)
		}
	}
}

// A keyring is that of the data key that its name says.
func TestKeyringsOfOtherKeysAreRefused(t *testing.T) {
	d := datasettest.New(t)
	var ids []envelope.KeyID
	for range 2 {
		key, err := objects.Of(d).NewKey(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, key.ID())
	}
	b, err := objects.Of(d).Get(ctx, objects.Of(d).KeyName(ids[0]), objects.MaxKeyring)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, d, objects.Of(d).KeyName(ids[1]), b)
	if _, err := d.Keyrings(ctx); !errors.Is(err, envelope.ErrAuthentication) || !strings.Contains(err.Error(), objects.Of(d).KeyName(ids[1])) {
		t.Errorf("all keyrings: %v", err)
	}
	d.Close()
	again, err := dataset.Open(objects.Of(d).Vault, d.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := objects.Of(again).Key(ctx, ids[1]); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("the key: %v", err)
	}
}

// A replayingStore has somebody put an object back before the keyrings are listed for
// the second time.
type replayingStore struct {
	vault.Store
	lists   int
	putBack func()
}

func (s *replayingStore) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	if strings.HasSuffix(prefix, "/keys/") {
		if s.lists++; s.lists == 2 {
			s.putBack()
		}
	}
	return s.Store.List(ctx, prefix)
}

// A slot that is there again once it was removed is not said to be gone.
func TestSlotsThatComeBackAreTold(t *testing.T) {
	w := newKeysWorld(t)
	if _, err := w.AddSlot(ctx, w.friend); err != nil {
		t.Fatal(err)
	}
	rings, err := w.Keyrings(ctx)
	if err != nil {
		t.Fatal(err)
	}
	friends := rings[0].Slots()[1]
	store := &replayingStore{Store: w.Vault().Store}
	v := *w.Vault()
	v.Store = store
	store.putBack = func() { overwrite(t, w.Dataset, objects.Of(w).KeyName(rings[0].ID()), rings[0].Bytes()) }
	d, err := dataset.Open(&v, w.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.RemoveSlot(ctx, friends.Kind, friends.Key); err == nil || !strings.Contains(err.Error(), "again") {
		t.Errorf("with the slot back in its place: %v", err)
	}
	if !w.opens(t, 1, w.friend) {
		t.Error("the slot was not put back: the test shows nothing")
	}
	if _, err := d.RemoveSlot(ctx, friends.Kind, friends.Key); err != nil || w.opens(t, 1, w.friend) {
		t.Errorf("the next time: %v", err)
	}
}
