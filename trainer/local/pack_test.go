package local

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vaultpack/vaultpack/internal/treetest"
)

// The archive of a model is the same on any number of cores, and one that cannot be written
// leaves nothing that compresses (TestMain looks for goroutines).
func TestPack(t *testing.T) {
	dir := t.TempDir()
	want := map[string][32]byte{}
	for name, size := range map[string]int64{"empty": 0, "small": 100, "weights": 5<<20 + 17} {
		b := treetest.Bytes(size, 3)
		want[name] = sha256.Sum256(b)
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var first []byte
	for _, cores := range []int{1, 2, 5} {
		was := runtime.GOMAXPROCS(cores)
		var b bytes.Buffer
		err := pack(&b, dir)
		runtime.GOMAXPROCS(was)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b.Bytes()
		}
		if !bytes.Equal(b.Bytes(), first) {
			t.Errorf("with %d cores it has other bytes", cores)
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil || sha256.Sum256(b) != want[h.Name] {
			t.Errorf("%s: %d bytes, %v", h.Name, len(b), err)
		}
		delete(want, h.Name)
	}
	if len(want) > 0 {
		t.Errorf("not in the archive: %v", want)
	}
	for _, room := range []int{0, 1000, 2 << 20} {
		full := errors.New("full")
		left := room
		err := pack(writerFunc(func(p []byte) (int, error) {
			if left -= len(p); left < 0 {
				return 0, full
			}
			return len(p), nil
		}), dir)
		if !errors.Is(err, full) {
			t.Errorf("with room for %d bytes: %v", room, err)
		}
	}
}
