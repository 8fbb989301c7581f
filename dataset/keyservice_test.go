package dataset_test

import (
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/envelopetest"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// A slot moves from one key of a key service to another, of whatever kind the service is,
// and nobody is given the data key for that: the new slot alone is tried. Where the
// service cannot, the data key is opened and wrapped again.
func TestRewrapInAnyKeyService(t *testing.T) {
	old, next, local := envelopetest.NewKeyService("old"), envelopetest.NewKeyService("next"), envelope.GenerateLocalKey()
	d := datasettest.New(t)
	t.Cleanup(d.Close)
	objects.Of(d).Vault.Keys.Open, objects.Of(d).Vault.Keys.Wrap = []envelope.KeyWrapper{old, next}, []envelope.KeyWrapper{old}
	if _, err := objects.Of(d).NewKey(ctx); err != nil {
		t.Fatal(err)
	}
	w := keysWorld{Dataset: d}
	if n, err := d.Rewrap(ctx, "test", "old", next); err != nil || n != 1 {
		t.Fatalf("%d keyrings, %v", n, err)
	}
	if got, want := old.Calls(), (envelopetest.Calls{Generate: 1, Rewrap: 1}); got != want {
		t.Errorf("the old key was called %+v, want %+v", got, want)
	}
	if got, want := next.Calls(), (envelopetest.Calls{Unwrap: 1}); got != want {
		t.Errorf("the new key was called %+v, want %+v", got, want)
	}
	if w.opens(t, 1, old) || !w.opens(t, 1, next) {
		t.Error("the slot has not moved")
	}
	if n, err := d.Rewrap(ctx, "test", "next", local); err != nil || n != 1 || !w.opens(t, 1, local) || w.opens(t, 1, next) {
		t.Errorf("to a key of no service: %d keyrings, %v", n, err)
	}
	if got := next.Calls(); got.Rewrap != 0 {
		t.Errorf("a key of no service was moved to: %+v", got)
	}
}
