package view_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/cache"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// A cachedSet is a dataset that is read through a cache.
type cachedSet struct {
	*testing.T
	version *dataset.Version
	store   *datasettest.Watched
	data    map[string][]byte
	dir     string
	packs   atomic.Int64 // requests for packs
	spoiled atomic.Bool  // what they return has been changed
}

func newCachedSet(t *testing.T, files int, large int64) *cachedSet {
	s := &cachedSet{T: t, data: map[string][]byte{"large": treetest.Bytes(large, 7)}, dir: t.TempDir()}
	for i := range files {
		s.data[fmt.Sprintf("small/%d", i)] = bytes.Repeat(fmt.Appendf(nil, "no plaintext %d ", i), 1000)
	}
	s.version, _, s.store = sealed(t, 32<<20, func(src string) {
		for name, b := range s.data {
			write(t, filepath.Join(src, name), b)
		}
	})
	s.store.Spoil(func(name string, off int64, r io.ReadCloser) (io.ReadCloser, error) {
		if !strings.Contains(name, "/packs/") {
			return r, nil
		}
		s.packs.Add(1)
		if s.spoiled.Load() {
			return spoiled{r}, nil
		}
		return r, nil
	})
	return s
}

// spoiled is changed contents.
type spoiled struct{ io.ReadCloser }

func (s spoiled) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	for i := 0; i < n; i += 1000 {
		p[i] ^= 1
	}
	return n, err
}

func (s *cachedSet) open() (f *view.View, done func()) {
	s.Helper()
	disk := must2(cache.Open(s.dir, cache.MinSize, func(err error) { s.Error(err) }))
	f = open(s.T, s.version, view.Options{Memory: 1, Cache: disk})
	return f, func() {
		s.Helper()
		must(s.T, errors.Join(f.Close(), disk.Close()))
	}
}

// readAll reads everything with a new view and returns how many requests it took.
func (s *cachedSet) readAll() int64 {
	s.Helper()
	f, done := s.open()
	defer done()
	before := s.packs.Load()
	for name, want := range s.data {
		if got, err := f.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			s.Errorf("%s: %v", name, err)
		}
	}
	return s.packs.Load() - before
}

// change changes the file of the cache.
func (s *cachedSet) change(f func(b []byte)) {
	s.Helper()
	name := filepath.Join(s.dir, "vaultpack-sealed.cache")
	b := must2(os.ReadFile(name))
	f(b)
	must(s.T, os.WriteFile(name, b, 0o600))
}

// What was read once is not fetched again, and lies on the disk sealed. Whatever is done to
// it there, contents are those of the vault, or an error where these are changed as well.
func TestSealedCache(t *testing.T) {
	race.Skip(t, "there is one reader at a time; TestSharedCache has several")
	s := newCachedSet(t, 100, 5<<20+3)
	if n := s.readAll(); n == 0 {
		t.Fatal("nothing was fetched")
	}
	s.spoiled.Store(true)
	if n := s.readAll(); n != 0 {
		t.Errorf("what is in the cache took %d requests", n)
	}
	s.spoiled.Store(false)
	s.change(func(b []byte) {
		if bytes.Contains(b, []byte("no plaintext")) || !bytes.Contains(b, s.firstPack()) {
			t.Error("the cache has plaintext, or nothing")
		}
	})
	const header = 4096
	slots := int((must2(os.Stat(filepath.Join(s.dir, "vaultpack-sealed.cache"))).Size() - header) / (1052672 + 64))
	body := header + slots*64
	for what, f := range map[string]func(b []byte){
		"every chunk": func(b []byte) {
			for i := body; i < len(b); i += 4096 {
				b[i+int(rand.Uint64N(4000))] ^= 4
			}
		},
		"one bit in each head": func(b []byte) {
			for i := range slots {
				b[body+i*1052672+rand.IntN(56)] ^= 1
			}
		},
		"the bits of pages": func(b []byte) {
			for i := range slots {
				if at := header + i*64; !bytes.Equal(b[at:at+40], make([]byte, 40)) {
					copy(b[at+40:], bytes.Repeat([]byte{0xff}, 8))
				}
			}
			clear(b[body+1052672*3:])
		},
		"the table": func(b []byte) { rand.Shuffle(slots, func(i, k int) { swap(b[header+i*64:], b[header+k*64:], 64) }) },
		"the slots": func(b []byte) {
			rand.Shuffle(slots, func(i, k int) { swap(b[body+i*1052672:], b[body+k*1052672:], 1052672) })
		},
		"everything, zeroed":  func(b []byte) { clear(b) },
		"everything, trashed": func(b []byte) { copy(b, treetest.Bytes(int64(len(b)), 3)) },
	} {
		s.readAll()
		s.change(f)
		if n := s.readAll(); n == 0 {
			t.Errorf("%s: nothing was fetched anew", what)
		}
		if n := s.readAll(); n != 0 {
			t.Errorf("%s: it is not mended; %d requests", what, n)
		}
	}
	s.change(func(b []byte) { clear(b[body:]) })
	s.spoiled.Store(true)
	f, done := s.open()
	for name, want := range s.data {
		if got, err := f.ReadFile(name); !errors.Is(err, envelope.ErrAuthentication) || !bytes.HasPrefix(want, got) {
			t.Errorf("%s, changed in the vault too: %d bytes, %v", name, len(got), err)
		}
	}
	done()
	s.spoiled.Store(false)
	s.readAll()
	if n := s.readAll(); n != 0 {
		t.Errorf("what did not authenticate was kept: %d requests", n)
	}
}

func swap(a, b []byte, n int) {
	c := bytes.Clone(a[:n])
	copy(a[:n], b)
	copy(b[:n], c)
}

// firstPack is the ID of a pack, which an entry of the cache has.
func (s *cachedSet) firstPack() []byte {
	f := open(s.T, s.version, view.Options{})
	return must2(f.Lookup("large")).Extents[0].Pack.ID[:]
}

// Several processes read more than the cache holds, at the same time, through one.
func TestSharedCache(t *testing.T) {
	ranges := 25
	if race.Enabled {
		ranges = 3
	}
	s := newCachedSet(t, 50, 72<<20)
	var all sync.WaitGroup
	for g := range 3 {
		f, done := s.open()
		defer done()
		for r := range 3 {
			all.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(g), uint64(r)))
				large := must2(f.Open("large")).(*view.File)
				p := make([]byte, 3<<20)
				for range ranges {
					p := p[:1+rng.IntN(len(p))]
					off := rng.Int64N(large.Size() - int64(len(p)))
					if _, err := large.ReadAt(p, off); err != nil || !bytes.Equal(p, s.data["large"][off:off+int64(len(p))]) {
						t.Errorf("%d bytes from %d: %v", len(p), off, err)
					}
					name := fmt.Sprintf("small/%d", rng.IntN(50))
					if got, err := f.ReadFile(name); err != nil || !bytes.Equal(got, s.data[name]) {
						t.Errorf("%s: %v", name, err)
					}
				}
			})
		}
	}
	all.Wait()
	if n := s.packs.Load(); n == 0 {
		t.Error("nothing was fetched")
	}
}
