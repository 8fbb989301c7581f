package commit

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
)

var ctx = context.Background()

func newDataset(t testing.TB) *dataset.Dataset {
	t.Helper()
	dir := t.TempDir()
	v, _, err := config.Init(ctx, &config.Config{
		Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := dataset.Open(v, "d")
	if err != nil {
		t.Fatal(err)
	}
	return d
}
