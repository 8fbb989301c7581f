package datasettest

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/vault"
)

// A Watched store counts what is read from another store, and can change it.
type Watched struct {
	vault.Store
	Gets atomic.Int64

	mu    sync.Mutex
	spoil func(name string, off int64, r io.ReadCloser) (io.ReadCloser, error)
}

// Get applies the function that Spoil set.
func (w *Watched) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	w.Gets.Add(1)
	r, err := w.Store.Get(ctx, name, off, n)
	w.mu.Lock()
	spoil := w.spoil
	w.mu.Unlock()
	if err != nil || spoil == nil {
		return r, err
	}
	return spoil(name, off, r)
}

// Spoil makes f alter what later reads return; if f is nil, they return what is stored.
func (w *Watched) Spoil(f func(name string, off int64, r io.ReadCloser) (io.ReadCloser, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spoil = f
}

// NewWatched makes a vault in a folder, with a Watched store.
func NewWatched(t testing.TB, dir string) (*vault.Vault, *Watched) {
	t.Helper()
	v, _, err := config.Init(t.Context(), &config.Config{Vault: config.Setting{Value: dir + "/vault"}, LocalKey: config.Setting{Value: dir + "/key"}})
	if err != nil {
		t.Fatal(err)
	}
	w := &Watched{Store: v.Store}
	v.Store = w
	return v, w
}
