// Package datasettest makes datasets for the tests of what reads them.
package datasettest

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// New makes an empty dataset in a directory.
func New(t testing.TB) *dataset.Dataset {
	t.Helper()
	dir := t.TempDir()
	v, _, err := config.Init(t.Context(), &config.Config{
		Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Open(v, "d")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Commit makes a version of entries without contents.
func Commit(t testing.TB, d *dataset.Dataset, entries []*tree.Entry) *dataset.Version {
	t.Helper()
	ctx := context.Background()
	l, err := commit.Begin(ctx, d, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer l.End(ctx)
	key, err := l.NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := commit.NewIndex(d, key, nil)
	for _, e := range entries {
		if err := w.Add(ctx, e, commit.Step{}); err != nil {
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

// Packed makes a version of small files, by their names, that lie in one pack, a tar.
func Packed(t testing.TB, d *dataset.Dataset, names []string, contents map[string]string) *dataset.Version {
	t.Helper()
	ctx := context.Background()
	key, err := objects.Of(d).NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	entries := []*tree.Entry{{Path: "", Mode: 0o755, ModTime: time.Unix(1, 0)}}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		e := &tree.Entry{Path: name, Size: int64(len(contents[name])), Mode: 0o644, ModTime: time.Unix(2, 0)}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: e.Size, Mode: 0o644, ModTime: e.ModTime}); err != nil {
			t.Fatal(err)
		}
		e.Extents = []tree.Extent{{Offset: int64(b.Len()), Length: e.Size}}
		io.WriteString(w, contents[name])
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	pack, err := objects.Of(d).WritePack(ctx, key, func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err })
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries[1:] {
		e.Extents[0].Pack = &pack
	}
	return Commit(t, d, entries)
}
