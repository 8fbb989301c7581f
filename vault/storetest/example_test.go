package storetest_test

import (
	"testing"

	"github.com/vaultpack/vaultpack/vault"
	"github.com/vaultpack/vaultpack/vault/storetest"
)

// A store of your own is tested beside it: make the function below TestStore in its
// package, and open your store in the place of a directory.
func ExampleRun() {
	testStore := func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) vault.Store {
			s, err := vault.OpenDir(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}, nil)
	}
	_ = testStore
}
