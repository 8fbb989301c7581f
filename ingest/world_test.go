package ingest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/vault"
)

// A world is a vault in memory, with one dataset.
type world struct {
	t     testing.TB
	store vault.Store
	key   *envelope.LocalKey
}

func newWorld(t testing.TB) *world {
	return &world{t, &memstore.Store{}, envelope.GenerateLocalKey()}
}

func (w *world) vault(s vault.Store) *vault.Vault {
	keys := []envelope.KeyWrapper{w.key}
	return &vault.Vault{Store: s, Location: "mem://", Keys: &vault.Keys{Open: keys, Wrap: keys}}
}

func (w *world) open(s vault.Store) *dataset.Dataset {
	w.t.Helper()
	d, err := dataset.Open(w.vault(s), "d")
	check(w.t, err)
	w.t.Cleanup(d.Close)
	return d
}

func (w *world) writer(opts Options) *Writer {
	w.t.Helper()
	wr, err := New(context.Background(), w.open(w.store), opts)
	check(w.t, err)
	w.t.Cleanup(func() { wr.Close() })
	return wr
}

// latest is what the newest version holds, by path; nil where there is none.
func (w *world) latest() (*dataset.Version, map[string]string) {
	w.t.Helper()
	v, err := w.open(w.store).Latest(context.Background())
	if errors.Is(err, dataset.ErrUnknownDataset) {
		return nil, nil
	}
	check(w.t, err)
	_, err = verify.Run(context.Background(), v, verify.Options{})
	check(w.t, err)
	files := map[string]string{}
	for e, err := range v.Entries(context.Background()) {
		check(w.t, err)
		var b bytes.Buffer
		check(w.t, v.WriteFile(context.Background(), &b, e))
		files[e.Path] = b.String()
	}
	return v, files
}

// want compares the newest version with a model of it.
func (w *world) want(model map[string]string) *dataset.Version {
	w.t.Helper()
	v, got := w.latest()
	if maps.Equal(got, model) {
		return v
	}
	for path := range union(got, model) {
		if a, aok := got[path]; a != model[path] || !aok {
			w.t.Errorf("%q has %d bytes (there: %v), want %d bytes", path, len(a), aok, len(model[path]))
		}
	}
	w.t.Fatalf("the version has %d files, want %d", len(got), len(model))
	return nil
}

func union[V any](a, b map[string]V) iter.Seq[string] {
	all := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
	slices.Sort(all)
	return slices.Values(slices.Compact(all))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put writes a whole file.
func put(t testing.TB, w *Writer, path, data string) {
	t.Helper()
	f, err := w.Create(path, Meta{})
	check(t, err)
	_, err = io.WriteString(f, data)
	check(t, err)
	check(t, f.Close())
}

var errKilled = errors.New("killed")

// A mortal store fails from some operation on, as the store of a process does that is
// killed: that operation itself may have been done.
type mortal struct {
	vault.Store
	mu   sync.Mutex
	left int // operations; below 0 it lives for ever
	half bool
}

func (s *mortal) Unwrap() vault.Store { return s.Store }

// step reports whether an operation is done, and whether that is told.
func (s *mortal) step() (do, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.left < 0:
		return true, true
	case s.left == 0:
		return false, false
	}
	s.left--
	return s.left > 0 || s.half, s.left > 0
}

func (s *mortal) do(op func() error) error {
	do, tell := s.step()
	if !do {
		return errKilled
	}
	if err := op(); err != nil || tell {
		return err
	}
	return errKilled
}

func (s *mortal) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	return s.do(func() error { return s.Store.Put(ctx, name, write) })
}

func (s *mortal) Create(ctx context.Context, name string, data []byte) error {
	return s.do(func() error { return s.Store.Create(ctx, name, data) })
}

func (s *mortal) Delete(ctx context.Context, name string) error {
	return s.do(func() error { return s.Store.Delete(ctx, name) })
}

func (s *mortal) Get(ctx context.Context, name string, off, n int64) (r io.ReadCloser, err error) {
	err = s.do(func() (err error) { r, err = s.Store.Get(ctx, name, off, n); return err })
	return r, err
}

func (s *mortal) Stat(ctx context.Context, name string) (o vault.Object, err error) {
	err = s.do(func() (err error) { o, err = s.Store.Stat(ctx, name); return err })
	return o, err
}

func (s *mortal) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	if do, _ := s.step(); !do {
		return func(yield func(vault.Object, error) bool) { yield(vault.Object{}, errKilled) }
	}
	return s.Store.List(ctx, prefix)
}
