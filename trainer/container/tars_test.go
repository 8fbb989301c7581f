package container_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/treetest"
)

// Tars hold the small files of this version and nothing else, as any tool reads
// them; large files are files.
func TestTars(t *testing.T) {
	s := seal(t, "d", func(dir string) {
		for i := range 100 {
			write(t, filepath.Join(dir, "a", fmt.Sprintf("%03d.bin", i)), treetest.Bytes(int64(i)*50, byte(i)))
		}
		write(t, filepath.Join(dir, "b", "large"), treetest.Bytes(3*packSize, 9))
		write(t, filepath.Join(dir, "c", strings.Repeat("long name", 20)), []byte("long"))
		write(t, filepath.Join(dir, "c", "empty"), nil)
	})
	check(t, os.Remove(filepath.Join(s.src, "a", "020.bin")))
	check(t, os.Remove(filepath.Join(s.src, "c", "empty")))
	write(t, filepath.Join(s.src, "a", "030.bin"), []byte("changed"))
	// Contents that stay where they are in the vault, under other names.
	check(t, os.Rename(filepath.Join(s.src, "a", "040.bin"), filepath.Join(s.src, "a", "moved.bin")))
	for _, name := range []string{"000.bin", "copy.bin"} {
		write(t, filepath.Join(s.src, "c", name), treetest.Bytes(50*50, 50))
	}
	s.upload(t)
	j := newJob(t, s)
	j.cfg.Tars = true
	for range 2 { // the second time all is there
		check(t, j.open())
		out := t.TempDir()
		shards, err := filepath.Glob(j.dir("training", "d-??????.tar"))
		check(t, err)
		if len(shards) < 3 || filepath.Base(shards[0]) != "d-000000.tar" {
			t.Fatalf("shards: %v", shards)
		}
		for _, shard := range shards {
			untar(t, shard, out)
		}
		check(t, os.CopyFS(filepath.Join(out, "b"), os.DirFS(j.dir("training", "b"))))
		want, got := contents(t, s.src), contents(t, out)
		for name, b := range want {
			if !bytes.Equal(got[name], b) {
				t.Errorf("%s is not what was sealed", name)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d files, want %d", len(got), len(want))
		}
		left, err := os.ReadDir(j.dir("training"))
		check(t, err)
		if len(left) != len(shards)+1 {
			t.Errorf("the channel holds %v", left)
		}
	}
}

func untar(t testing.TB, file, dir string) {
	t.Helper()
	f, err := os.Open(file)
	check(t, err)
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return
		}
		check(t, err)
		b, err := io.ReadAll(tr)
		check(t, err)
		write(t, filepath.Join(dir, h.Name), b)
	}
}

func contents(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	check(t, filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			rel, _ := filepath.Rel(dir, name)
			files[rel], err = os.ReadFile(name)
		}
		return err
	}))
	return files
}
