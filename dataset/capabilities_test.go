package dataset_test

import (
	"errors"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// What a store cannot tell is an error, and never taken for nothing.
func TestStoresThatCannotTell(t *testing.T) {
	for name, c := range map[string]struct {
		store vault.Store
		want  error
	}{
		"can tell":    {&memstore.Store{}, nil},
		"cannot tell": {struct{ vault.Store }{&memstore.Store{}}, errors.ErrUnsupported},
	} {
		key := []envelope.KeyWrapper{envelope.GenerateLocalKey()}
		d, err := dataset.Open(&vault.Vault{Store: c.store, Keys: &vault.Keys{Open: key, Wrap: key}}, "d")
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for what, do := range map[string]func() error{
			"old keyrings": func() error { _, err := d.OldKeyrings(t.Context()); return err },
			"shred them":   func() error { _, err := d.ShredOld(t.Context()); return err },
			"sweep":        func() error { return objects.Of(d).SweepUnfinished(t.Context()) },
			"collect":      func() error { _, err := objects.Of(d).SweepOlder(t.Context(), time.Hour); return err },
			"plan that":    func() error { _, err := objects.Of(d).CountOlder(t.Context(), time.Hour); return err },
		} {
			if err := do(); !errors.Is(err, c.want) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
}
