package uploader_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/uploader"
)

// Packs are filled in the order of the paths and keep to their bound, also where
// a sample's last file is left out, or too large for a pack, and where times are
// such that a tar needs more room for them.
func TestPacksInOrderAndInBounds(t *testing.T) {
	const size = 64 << 10
	v, src := newVault(t), t.TempDir()
	for i := range 300 {
		for ext, n := range map[string]int{".a": 1, ".b": 100, ".left-out": 1} {
			name := filepath.Join(src, fmt.Sprintf("%03d%s", i, ext))
			if err := os.WriteFile(name, make([]byte, n), 0o644); err != nil {
				t.Fatal(err)
			}
			old := time.Unix(-1e9, 0)
			if err := os.Chtimes(name, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(src, "150.c"), make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	filter, err := uploader.NewFilter(nil, []string{"*.left-out"})
	if err != nil {
		t.Fatal(err)
	}
	_, res := upload(t, v, "d", src, func(u *uploader.Options) { u.PackSize, u.Filter = size, filter })
	done := map[envelope.ObjectID]bool{}
	var last tree.Extent
	for e, err := range res.Version.Entries(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if !e.IsFile() || e.Size == size {
			continue
		}
		x := e.Extents[0]
		if n, err := x.Pack.PlaintextSize(); err != nil || n > size {
			t.Errorf("%q lies in a pack of %d bytes, %v", e.Path, n, err)
		}
		switch {
		case last.Pack == nil || x.Pack.ID == last.Pack.ID:
			if x.Offset < last.Offset {
				t.Errorf("%q lies before the file before it", e.Path)
			}
		case done[x.Pack.ID]:
			t.Errorf("%q lies in a pack that was complete", e.Path)
		default:
			done[last.Pack.ID] = true
		}
		last = x
	}
	if len(done) == 0 {
		t.Error("all files lie in one pack")
	}
}

// A record of another machine's file with the same size, time and mode is
// believed, but not by an upload that compares by checksum.
func TestResumeByChecksum(t *testing.T) {
	for _, size := range []int{100, 2 * packSize} {
		for _, checksum := range []bool{false, true} {
			v, src := newVault(t), t.TempDir()
			here, there := make([]byte, size), make([]byte, size)
			there[0] = 1
			name := filepath.Join(src, "f")
			if err := os.WriteFile(name, here, 0o644); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			d := open(t, v, "d")
			l, err := commit.Begin(ctx, d, "another machine")
			if err != nil {
				t.Fatal(err)
			}
			key, err := l.NewKey(ctx)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(there)
			e := &tree.Entry{Path: "f", Size: int64(size), Mode: info.Mode() & fs.ModePerm, ModTime: info.ModTime(), Sum: sum[:]}
			for at := 0; at < size; at += packSize {
				part := there[at:min(at+packSize, size)]
				pack, err := objects.Of(d).WritePack(ctx, key, func(w io.Writer) error { _, err := w.Write(part); return err })
				if err != nil {
					t.Fatal(err)
				}
				e.Extents = append(e.Extents, tree.Extent{Pack: &pack, Length: int64(len(part)), At: int64(at)})
			}
			if err := errors.Join(l.Record(ctx, key, []*tree.Entry{e}), l.End(ctx)); err != nil {
				t.Fatal(err)
			}
			u, res := upload(t, v, "d", src, func(u *uploader.Options) { u.Checksum = checksum })
			sent, resumed := int64(0), int64(1)
			if checksum {
				sent, resumed = 1, 0
				failed := func(err error) { t.Errorf("%d bytes: %v", size, err) }
				if _, err := verify.Against(ctx, res.Version, src, verify.Options{Failed: failed}); err != nil {
					t.Fatal(err)
				}
			}
			if u.SentFiles != sent || u.ResumedFiles != resumed {
				t.Errorf("%d bytes, checksum %v: sent %d, resumed %d", size, checksum, u.SentFiles, u.ResumedFiles)
			}
		}
	}
}
