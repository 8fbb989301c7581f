package vault_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/vault"
	"github.com/vaultpack/vaultpack/vault/storetest"
)

func TestDirStore(t *testing.T) {
	open := func(t *testing.T) vault.Store {
		s, err := vault.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	denied := func(t *testing.T) vault.Store {
		dir := t.TempDir()
		asNobody(t, dir)
		s, err := vault.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Put(t.Context(), "d/there", func(w io.Writer) error { return nil })
		if err == nil {
			err = os.Chmod(filepath.Join(dir, "d"), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Chmod(filepath.Join(dir, "d"), 0o700) })
		return s
	}
	storetest.Run(t, open, denied)
}
