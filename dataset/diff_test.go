package dataset_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

func TestDiff(t *testing.T) {
	at := func(path string, sec int64, mode fs.FileMode) *tree.Entry {
		return &tree.Entry{Path: path, Mode: mode, ModTime: time.Unix(sec, 0)}
	}
	old := []*tree.Entry{at("", 1, 0o755), at("a", 1, 0), at("b", 1, 0), at("d/", 1, 0o755), at("d/x", 1, 0), at("e/", 1, 0o755), at("z", 1, 0)}
	later := []*tree.Entry{at("", 2, 0o755), at("a", 1, 0), at("b", 2, 0), at("c", 2, 0), at("d/", 2, 0o700), at("e/", 3, 0o755), at("y", 1, 0)}
	for name, test := range map[string]struct {
		from, to []*tree.Entry
		want     string
	}{
		"forth":          {old, later, "changed:b added:c changed:d/ removed:d/x added:y removed:z"},
		"back":           {later, old, "changed:b removed:c changed:d/ added:d/x removed:y added:z"},
		"the same":       {old, old, ""},
		"all is added":   {nil, old[:2], "added: added:a"},
		"all is gone":    {old[:2], nil, "removed: removed:a"},
		"none in either": {nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := datasettest.New(t)
			from, to := datasettest.Commit(t, d, test.from), datasettest.Commit(t, d, test.to)
			var got []string
			for c, err := range dataset.Diff(ctx, from, to) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%s:%s", c.Kind, c.Entry.Path))
			}
			if s := strings.Join(got, " "); s != test.want {
				t.Errorf("%q, want %q", s, test.want)
			}
			for range dataset.Diff(ctx, from, to) {
				break // who stops early leaves nothing running, as TestMain looks for
			}
		})
	}
}

// What one of the versions cannot tell is an error, and never a change.
func TestDiffOfWhatCannotBeRead(t *testing.T) {
	d := datasettest.New(t)
	sound := datasettest.Commit(t, d, []*tree.Entry{{Path: "", Mode: 0o755}, {Path: "a", Mode: 0o644}})
	damaged := datasettest.Commit(t, d, []*tree.Entry{{Path: "", Mode: 0o755}, {Path: "b", Mode: 0o644}})
	overwrite(t, d, objects.Of(d).IndexName(damaged.Parts[0].ID), []byte("something else"))
	for _, pair := range [][2]*dataset.Version{{sound, damaged}, {damaged, sound}} {
		n := 0
		var last error
		for _, err := range dataset.Diff(ctx, pair[0], pair[1]) {
			n, last = n+1, err
		}
		if n != 1 || !errors.Is(last, envelope.ErrAuthentication) && !errors.Is(last, envelope.ErrFormat) {
			t.Errorf("%d to %d: %d changes, %v", pair[0].Number, pair[1].Number, n, last)
		}
	}
}

// A twoFaced store shows its newest version to the first listing alone.
type twoFaced struct {
	vault.Store
	newest string
	lists  int
}

func (s *twoFaced) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	s.lists++
	hide := s.lists > 1
	return func(yield func(vault.Object, error) bool) {
		for o, err := range s.Store.List(ctx, prefix) {
			if hide && o.Name == s.newest {
				continue
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

func TestChoose(t *testing.T) {
	d := datasettest.New(t)
	for range 3 {
		datasettest.Commit(t, d, []*tree.Entry{{Path: "", Mode: 0o755}})
	}
	for _, test := range []struct {
		choice dataset.Choice
		want   int64 // 0 is a rollback
	}{
		{dataset.Choice{}, 3}, {dataset.Choice{Number: 1}, 1}, {dataset.Choice{AtLeast: 3}, 3}, {dataset.Choice{Number: 1, AtLeast: 3}, 1}, {dataset.Choice{AtLeast: 1}, 3},
		{dataset.Choice{AtLeast: 4}, 0}, {dataset.Choice{Number: 3, AtLeast: 4}, 0}, {dataset.Choice{Number: 9, AtLeast: 4}, 0},
	} {
		v, err := d.Choose(ctx, test.choice)
		var back *dataset.RollbackError
		switch {
		case test.want == 0 && (!errors.As(err, &back) || !errors.Is(err, envelope.ErrAuthentication) || back.Newest != 3 || back.AtLeast != 4 || back.Dataset != "d"):
			t.Errorf("%+v: %v", test.choice, err)
		case test.want > 0 && (err != nil || v.Number != test.want):
			t.Errorf("%+v: %v, %v", test.choice, v, err)
		}
	}
	if _, err := d.Choose(ctx, dataset.Choice{Number: 9}); !errors.Is(err, dataset.ErrUnknownVersion) {
		t.Error(err)
	}

	// A vault that shows a version to the check and hides it from the reader.
	objects.Of(d).Vault.Store = &twoFaced{Store: objects.Of(d).Vault.Store, newest: objects.Of(d).VersionName(3)}
	if v, err := d.Choose(ctx, dataset.Choice{AtLeast: 3}); err != nil || v.Number != 3 {
		t.Errorf("%v, %v: it read another version than it has checked", v, err)
	}
	// One whose list is empty was rolled back too, if there was a version.
	empty := datasettest.New(t)
	if _, err := empty.Choose(ctx, dataset.Choice{AtLeast: 1}); !errors.Is(err, envelope.ErrAuthentication) {
		t.Error(err)
	}
	if _, err := empty.Choose(ctx, dataset.Choice{}); !errors.Is(err, dataset.ErrUnknownDataset) {
		t.Error(err)
	}
}
