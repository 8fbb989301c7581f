package dataset_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// A store that panics while a lease is renewed ends the upload, which learns of it when
// it ends the lease.
func TestPanicOfARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := new(trap)
		v := &vault.Vault{Store: trapStore{&memstore.Store{}, tr}, Keys: &vault.Keys{Wrap: []envelope.KeyWrapper{envelope.GenerateLocalKey()}}}
		d, err := dataset.Open(v, "d")
		if err != nil {
			t.Fatal(err)
		}
		l, err := commit.Begin(t.Context(), d, "source")
		if err != nil {
			t.Fatal(err)
		}
		tr.at.Store(tr.calls.Load() + 1)
		select {
		case <-l.Context().Done():
		case <-time.After(objects.LeaseTTL):
			t.Fatal("the upload goes on without its lease")
		}
		recovered, _, _ := endOf(func() error { return l.End(context.Background()) })
		if value, _ := recovered.(error); !errors.Is(value, errTrap) {
			t.Errorf("End: recovered %v", recovered)
		}
		if err := l.End(context.Background()); err != nil {
			t.Errorf("End once more: %v", err)
		}
	})
}
