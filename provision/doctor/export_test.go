package doctor

import (
	"context"
	"io/fs"
	"slices"

	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/vault"
)

// A Doctor is a run that tests can change before they start it.
type Doctor = doctor

// Check is Run.
func (d *doctor) Check(ctx context.Context) (Report, error) { return d.check(ctx) }

// Names are those of all checks that there are.
func Names() []string {
	var names []string
	for _, url := range []string{"s3://bucket", "/dir"} {
		d := &doctor{Options: Options{Config: &config.Config{Vault: config.Setting{Value: url}, KMSKeys: []config.Setting{{Value: "alias/one"}}}}}
		for _, c := range d.checks() {
			names = append(names, c.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// OnMachine has the doctor see another machine: its files, and the room in its
// folders.
func (d *doctor) OnMachine(root fs.FS, free uint64) {
	d.root = func() fs.FS { return root }
	d.free = func(string) (uint64, error) { return free, nil }
}

// WithoutSimulator has it be as on a server whose IAM simulates nothing.
func (d *doctor) WithoutSimulator() {
	d.asks = func(context.Context, []simulated) ([]bool, error) {
		return nil, &smithy.GenericAPIError{Code: "NotImplemented"}
	}
}

// Through has the doctor reach the vault through another store.
func (d *doctor) Through(wrap func(vault.Store) vault.Store) { d.wrap = wrap }
