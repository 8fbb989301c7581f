package uploader_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
)

// An index that records another sum than the contents have: whoever reads the file
// is told that it does not authenticate, and no reader keeps it.
func TestSumsAreCompared(t *testing.T) {
	v, src := newVault(t), contentsTree(t)
	_, res := upload(t, v, "d", src)
	d := open(t, v, "d")
	for _, of := range []string{"samples/07.json", "large"} {
		bad := withSums(t, d, res.Version, func(e *tree.Entry) {
			if e.Path == of {
				e.Extents[len(e.Extents)-1].Sum[3] ^= 1
			}
		})
		e, err := bad.Lookup(ctx, of)
		if err != nil {
			t.Fatal(err)
		}
		out := t.TempDir()
		for name, read := range map[string]func() error{
			"cat":     func() error { return bad.WriteFile(ctx, &bytes.Buffer{}, e) },
			"restore": func() error { _, err := restore.Run(ctx, bad, out, restore.Options{}); return err },
			"verify":  func() error { _, err := verify.Run(ctx, bad, verify.Options{}); return err },
			"against": func() error { _, err := verify.Against(ctx, bad, src, verify.Options{}); return err },
		} {
			if err := read(); !errors.Is(err, envelope.ErrAuthentication) {
				t.Errorf("%s of %s: %v", name, of, err)
			}
		}
		if _, err := os.Lstat(filepath.Join(out, of)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was restored: %v", of, err)
		}
		if _, err := os.Lstat(filepath.Join(out, "medium")); err != nil {
			t.Errorf("the rest was not restored: %v", err)
		}
	}
}

// withSums makes the version after ver, with the same entries but for what change
// makes of them.
func withSums(t *testing.T, d *dataset.Dataset, ver *dataset.Version, change func(*tree.Entry)) *dataset.Version {
	t.Helper()
	l, err := commit.Begin(ctx, d, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.End(ctx); err != nil {
			t.Error(err)
		}
	}()
	key, err := d.Key(ctx, ver.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	w := commit.NewIndex(d, key, nil)
	for e, err := range ver.Entries(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		change(e)
		if err := w.Add(ctx, e, commit.Step{}); err != nil {
			t.Fatal(err)
		}
	}
	c, _, err := w.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c.Relied = w.Packs()
	made, err := l.Commit(ctx, key, c)
	if err != nil {
		t.Fatal(err)
	}
	return made
}
