package memstore_test

import (
	"testing"

	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/vault"
	"github.com/vaultpack/vaultpack/vault/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) vault.Store { return &memstore.Store{} }, nil)
}
