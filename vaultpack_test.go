package vaultpack_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/ingest"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

var ctx = context.Background()

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSettings(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_DATA_HOME", "")
	at, key := filepath.Join(dir, "vault"), filepath.Join(dir, "vault.key")
	for name, s := range map[string]vaultpack.Settings{
		"nothing": {}, "no key": {Vault: at}, "no vault": {LocalKey: key}, "no key to make data keys": {Vault: at, Passphrase: filepath.Join(dir, "none")},
	} {
		if _, err := vaultpack.Create(ctx, s); err == nil {
			t.Errorf("%s: a vault was made", name)
		}
		if _, err := vaultpack.Open(ctx, s); err == nil {
			t.Errorf("%s: a vault was opened", name)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Errorf("%v were made", files)
	}
	s := vaultpack.Settings{Vault: at, LocalKey: key, Context: map[string]string{"project": "scans"}}
	if _, err := vaultpack.Open(ctx, s); !errors.Is(err, vault.ErrNoVault) {
		t.Errorf("opening none: %v", err)
	}
	for range 2 { // made, and then there
		v, err := vaultpack.Create(ctx, s)
		check(t, err)
		check(t, v.Close())
	}
	v, err := vaultpack.Open(ctx, s)
	check(t, err)
	defer v.Close()
	w, err := v.Writer(ctx, "d", ingest.Options{AllowEmpty: true})
	check(t, err)
	_, err = w.Commit(ctx)
	check(t, err)

	// Another context, and another key, do not open it.
	other := s
	other.Context = nil
	o, err := vaultpack.Open(ctx, other)
	check(t, err)
	defer o.Close()
	if _, err := o.Version(ctx, "d"); err == nil {
		t.Error("the version opens in another context")
	}
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := vaultpack.Open(ctx, s); err == nil {
		t.Error("a vault opens without its key")
	}
	// The file of the command says the same.
	check(t, os.Rename(key+".away", key))
	check(t, os.WriteFile(filepath.Join(dir, "vaultpack.yaml"), []byte("vault: ./vault\nlocal_key: ./vault.key\ncontext:\n  project: scans\n"), 0o600))
	t.Chdir(dir)
	c, err := vaultpack.OpenConfigured(ctx)
	check(t, err)
	defer c.Close()
	if _, err := c.Version(ctx, "d@1"); err != nil {
		t.Error(err)
	}
	if names, err := c.Datasets(ctx); err != nil || len(names) != 1 {
		t.Error(names, err)
	}
}

// A Vault that was closed does nothing any more, and neither do its datasets.
func TestClose(t *testing.T) {
	dir := t.TempDir()
	v, err := vaultpack.Create(ctx, vaultpack.Settings{Vault: filepath.Join(dir, "vault"), LocalKey: filepath.Join(dir, "key")})
	check(t, err)
	w, err := v.Writer(ctx, "d", ingest.Options{})
	check(t, err)
	defer w.Close()
	d, err := v.Dataset("d")
	check(t, err)
	if again, err := v.Dataset("d"); again != d || err != nil {
		t.Errorf("another dataset: %v", err)
	}
	if _, err := v.Dataset("../d"); err == nil {
		t.Error("a bad name was taken")
	}
	for _, ref := range []string{"d@0", "d@x", "", "d@1@2"} {
		if _, err := v.Version(ctx, ref); err == nil {
			t.Errorf("%q was taken for a version", ref)
		}
	}
	check(t, v.Close())
	check(t, v.Close())
	for name, use := range map[string]func() error{
		"dataset": func() error { _, err := v.Dataset("d"); return err },
		"version": func() error { _, err := v.Version(ctx, "e"); return err },
		"upload":  func() error { _, err := v.Upload(ctx, "d", dir, uploader.Options{}); return err },
		"commit": func() error {
			if f, err := w.Create("f", ingest.Meta{}); err == nil {
				f.Close()
			}
			_, err := w.Commit(ctx)
			return err
		},
	} {
		if err := use(); !errors.Is(err, dataset.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
