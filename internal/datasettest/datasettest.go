// Package datasettest makes datasets for tests of code that reads them.
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
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
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
	v.Trust = nil // another dataset.Open is another reader
	d, err := dataset.Open(v, "d")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Commit makes a version of entries without contents.
func Commit(t testing.TB, d *dataset.Dataset, entries []*tree.Entry) *dataset.Version {
	t.Helper()
	return CommitWith(t, d, func(*envelope.DataKey) []*tree.Entry { return entries })
}

// CommitWith makes a version of the entries that fill returns. It passes fill a new
// data key to write packs under.
func CommitWith(t testing.TB, d *dataset.Dataset, fill func(*envelope.DataKey) []*tree.Entry) *dataset.Version {
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
	entries := fill(key)
	w := commit.NewIndex(d, key, nil)
	for _, e := range entries {
		if err := w.Add(ctx, e, commit.Step{}); err != nil {
			t.Fatal(err)
		}
	}
	c, _, err := w.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v, err := l.Commit(ctx, key, c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Packed makes a version of small files, given by name, that are all in one pack, a tar.
func Packed(t testing.TB, d *dataset.Dataset, names []string, contents map[string]string) *dataset.Version {
	t.Helper()
	return CommitWith(t, d, func(key *envelope.DataKey) []*tree.Entry { return packed(t, d, key, names, contents) })
}

func packed(t testing.TB, d *dataset.Dataset, key *envelope.DataKey, names []string, contents map[string]string) []*tree.Entry {
	t.Helper()
	ctx := context.Background()
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
	return entries
}

// SealRoot makes a version root that is signed and sealed like the version like.
func SealRoot(t testing.TB, like *dataset.Version, r *codec.Root) []byte {
	t.Helper()
	ctx := context.Background()
	set, root := objects.Of(like), objects.RootOf(like)
	r.Signers, r.Keys = root.Signers, root.Keys
	signer, err := set.Vault.SigningKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b, err := objects.SignRoot(ctx, set.Name, r, root.Chain, signer)
	if err != nil {
		t.Fatal(err)
	}
	key, err := set.Key(ctx, like.KeyID)
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := envelope.NewWriter(&sealed, envelope.KindVersion, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return sealed.Bytes()
}
