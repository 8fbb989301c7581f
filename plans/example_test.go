package plans_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/memstore"
	"github.com/vaultpack/vaultpack/plans"
	"github.com/vaultpack/vaultpack/vault"
)

// The shards are uploaded one after the other here. Elsewhere, each is a process on a machine
// of its own, which opens the vault and the dataset itself.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "plans-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for i := range 8 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("scan"), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	keys := []envelope.KeyWrapper{envelope.GenerateLocalKey()}
	d, err := dataset.Open(&vault.Vault{Store: &memstore.Store{}, Keys: &vault.Keys{Open: keys, Wrap: keys}}, "scans")
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()

	plan, err := plans.Make(ctx, d, dir, plans.MakeOptions{Shards: 2})
	if err != nil {
		log.Fatal(err)
	}
	for n := range plan.Shards {
		if _, err := plans.Work(ctx, d, plan.Reference, n, plans.WorkOptions{}); err != nil {
			log.Fatal(err)
		}
	}
	res, err := plans.Commit(ctx, d, plan.Reference, plans.CommitOptions{Message: "from two machines"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("version", res.Version.Number, "has", res.Version.Totals.Files, "files")
	// Output: version 1 has 8 files
}
