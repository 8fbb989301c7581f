package uploader_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// A beforePack store calls act once, before the first byte of the first pack is asked
// for: by then all files of that pack have been found.
type beforePack struct {
	vault.Store
	once sync.Once
	act  func()
}

func (s *beforePack) Unwrap() vault.Store { return s.Store }

func (s *beforePack) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if strings.Contains(name, "/packs/") {
		s.once.Do(s.act)
	}
	return s.Store.Put(ctx, name, write)
}

// What took a file's place after it was found is not followed out of the source, be it
// a link to a file, a link to a folder that holds one, or a pipe that would block.
func TestWhatTookAFilesPlaceIsNotRead(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, checksum := range []bool{false, true} {
		src := t.TempDir()
		for _, name := range []string{"a", "b"} {
			if err := os.WriteFile(filepath.Join(src, name), []byte("inside"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		v := newVault(t)
		v.Store = &beforePack{Store: v.Store, act: func() {
			b := filepath.Join(src, "b")
			if err := os.Remove(b); err != nil {
				t.Error(err)
			}
			if err := os.Symlink(secret, b); err != nil {
				t.Error(err)
			}
		}}
		var failed []string
		opts := uploader.Options{PackSize: packSize, Checksum: checksum,
			Failed: func(path string, err error) { failed = append(failed, path) }}
		res, err := uploader.Upload(ctx, open(t, v, "d"), src, opts)
		if len(failed) != 1 || failed[0] != "b" {
			t.Errorf("it failed for %q, %v", failed, err)
		}
		if res == nil || res.Version == nil {
			continue
		}
		for e, err := range res.Version.Entries(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			if e.IsFile() {
				if err := res.Version.WriteFile(ctx, &b, e); err != nil {
					t.Fatal(err)
				}
			}
			if strings.Contains(b.String(), "secret") {
				t.Errorf("%q holds what the link leads to", e.Path)
			}
		}
	}
}

// A record of an unfinished upload may outlive its packs, or name one that is cut: a
// pack that the upload counts on is looked for, and what it held is sent again.
func TestRecordedPacksAreLookedFor(t *testing.T) {
	gone := func(t *testing.T, v *vault.Vault, name string) {
		if err := v.Delete(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	cut := func(t *testing.T, v *vault.Vault, name string) {
		err := v.Put(ctx, name, func(w io.Writer) error { _, err := io.WriteString(w, "vaultpk1"); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, spoil := range map[string]func(*testing.T, *vault.Vault, string){"gone": gone, "cut": cut} {
		for _, size := range []int{100, 2*packSize + 5} {
			v, src := newVault(t), t.TempDir()
			contents := treetest.Bytes(int64(size), 3)
			name := filepath.Join(src, "f")
			if err := os.WriteFile(name, contents, 0o644); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			d := open(t, v, "d")
			l, err := commit.Begin(ctx, d, "another run")
			if err != nil {
				t.Fatal(err)
			}
			key, err := l.NewKey(ctx)
			if err != nil {
				t.Fatal(err)
			}
			e := &tree.Entry{Path: "f", Size: int64(size), Mode: info.Mode() & fs.ModePerm, ModTime: info.ModTime()}
			var packs []string
			for at := 0; at < size; at += packSize {
				part := contents[at:min(at+packSize, size)]
				pack, err := objects.Of(d).WritePack(ctx, key, func(w io.Writer) error { _, err := w.Write(part); return err })
				if err != nil {
					t.Fatal(err)
				}
				packs = append(packs, d.PackName(pack.ID))
				e.Extents = append(e.Extents, tree.Extent{Pack: &pack, Length: int64(len(part)), At: int64(at)})
			}
			if err := errors.Join(l.Record(ctx, key, []*tree.Entry{e}), l.End(ctx)); err != nil {
				t.Fatal(err)
			}
			spoil(t, v, packs[len(packs)-1])
			res, err := uploader.Upload(ctx, open(t, v, "d"), src, uploader.Options{PackSize: packSize})
			if err != nil {
				t.Fatal(err)
			}
			if res.Stats.ResumedFiles != 0 || res.Stats.SentBytes == 0 {
				t.Errorf("a pack is %s, %d bytes: %d files were taken for sent, %d bytes were sent", what, size, res.Stats.ResumedFiles, res.Stats.SentBytes)
			}
			out := filepath.Join(t.TempDir(), "out")
			restoreTo(t, res.Version, out)
			treetest.Equal(t, src, out)
		}
	}
}
