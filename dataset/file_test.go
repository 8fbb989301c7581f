package dataset_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// Any range of a file is what the file has there, of small files and of those that lie in
// pieces, from several goroutines.
func TestFilesGiveAnyRange(t *testing.T) {
	const packSize = 1 << 20
	data := map[string][]byte{"empty": {}, "one": {7}, "small": treetest.Bytes(5000, 1), "pieces": treetest.Bytes(3*packSize+77, 2)}
	v, _, _ := sealed(t, packSize, func(src string) {
		for name, b := range data {
			write(t, filepath.Join(src, name), b)
		}
		must(t, os.Mkdir(filepath.Join(src, "folder"), 0o755))
		must(t, os.Symlink("one", filepath.Join(src, "link")))
	})
	for name, want := range data {
		f, err := v.OpenFile(t.Context(), name)
		must(t, err)
		if f.Size() != int64(len(want)) || f.Entry().Path != name {
			t.Errorf("%s has %d bytes", name, f.Size())
		}
		if len(want) < 10_000 {
			must(t, iotest.TestReader(io.NewSectionReader(f, 0, f.Size()), want))
		}
		var all sync.WaitGroup
		for g := range 4 {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), 1))
				for range 30 {
					off := rng.IntN(len(want) + 10)
					p := make([]byte, rng.IntN([]int{20, 100_000, 2 * packSize}[rng.IntN(3)]))
					n, err := f.ReadAt(p, int64(off))
					rest := want[min(off, len(want)):]
					k := min(len(p), len(rest))
					if n != k || !bytes.Equal(p[:n], rest[:k]) || (err == io.EOF) != (len(p) > k) || err != nil && err != io.EOF {
						t.Errorf("%s: %d bytes from %d of %d: %d, %v", name, len(p), off, len(want), n, err)
					}
				}
			})
		}
		all.Wait()
		if _, err := f.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
			t.Errorf("%s: a negative offset: %v", name, err)
		}
		must(t, f.Close())
		if _, err := f.ReadAt(make([]byte, 1), 0); len(want) > 0 && !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: after Close: %v", name, err)
		}
	}
	for path, want := range map[string]error{"folder": fs.ErrInvalid, "link": fs.ErrInvalid, "": fs.ErrInvalid, "nowhere": dataset.ErrNoEntry} {
		if _, err := v.OpenFile(t.Context(), path); !errors.Is(err, want) {
			t.Errorf("opening %q: %v", path, err)
		}
	}
}

// No byte of a pack that was changed, cut or put in the place of another comes out.
func TestFilesGiveNothingThatIsNotAuthentic(t *testing.T) {
	const packSize = 1 << 20
	want := treetest.Bytes(3*packSize, 2)
	v, _, store := sealed(t, packSize, func(src string) { write(t, filepath.Join(src, "f"), want) })
	e, err := v.Lookup(t.Context(), "f")
	must(t, err)
	file := func(i int) string { return filepath.Join(store, "d/packs", e.Extents[i].Pack.ID.String()+".vpk") }
	first, err := os.ReadFile(file(0))
	must(t, err)
	second, err := os.ReadFile(file(1))
	must(t, err)
	changed := bytes.Clone(first)
	changed[len(changed)/2] ^= 1
	for name, c := range map[string]struct {
		now []byte
		is  error
	}{
		"changed": {changed, envelope.ErrAuthentication}, "cut": {first[:len(first)-5], nil}, "swapped": {second, envelope.ErrAuthentication},
		"removed": {nil, dataset.ErrMissing},
	} {
		must(t, os.Chmod(filepath.Dir(file(0)), 0o755))
		os.Remove(file(0))
		if c.now != nil {
			write(t, file(0), c.now)
		}
		f, err := v.OpenFile(t.Context(), "f")
		must(t, err)
		p := make([]byte, packSize)
		n, err := f.ReadAt(p, 0)
		if err == nil || err == io.EOF || c.is != nil && !errors.Is(err, c.is) || !bytes.Equal(p[:n], want[:n]) {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		var damaged *dataset.DamagedPackError
		if !errors.As(err, &damaged) {
			t.Errorf("%s: %v does not name the pack", name, err)
		}
		if n, err := f.ReadAt(p, packSize); n != packSize || err != nil {
			t.Errorf("%s: of the next piece %d bytes, %v", name, n, err)
		}
		must(t, f.Close())
	}
	ctx, cancel := context.WithCancel(t.Context())
	f, err := v.OpenFile(ctx, "f")
	must(t, err)
	cancel()
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
}
