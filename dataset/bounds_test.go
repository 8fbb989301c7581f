package dataset_test

import (
	"errors"
	"io"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// The dataset's name is bound to its keys even if the user's part of the context
// names another.
func TestContextNamesTheDataset(t *testing.T) {
	d := datasettest.New(t)
	objects.Of(d).Vault.Context = envelope.EncryptionContext{envelope.ContextDataset: "any"}
	key, err := objects.Of(d).NewKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := objects.Of(d).Get(ctx, objects.Of(d).KeyName(key.ID()), 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	other, err := dataset.Open(objects.Of(d).Vault, "other")
	if err != nil {
		t.Fatal(err)
	}
	write := func(w io.Writer) error { _, err := w.Write(ring); return err }
	if err := objects.Of(d).Vault.Put(ctx, objects.Of(other).KeyName(key.ID()), write); err != nil {
		t.Fatal(err)
	}
	if _, err := objects.Of(other).Key(ctx, key.ID()); !errors.Is(err, envelope.ErrAuthentication) {
		t.Errorf("a keyring moved to another dataset: %v", err)
	}
}
