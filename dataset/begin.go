package dataset

import (
	"context"
	"errors"

	"github.com/vaultpack/vaultpack/internal/given"
)

// A value that was not properly made, and a context that has already ended, are reported
// before any request to the vault.
var (
	errNoDataset = errors.New("dataset: a dataset that was not opened in a vault")
	errNoVault   = errors.New("dataset: a vault without a store or without keys")
	errNoVersion = errors.New("dataset: a version that was not read from a dataset")
)

// usable reports whether the dataset was opened in a usable vault.
func (d *Dataset) usable() bool {
	return d != nil && d.set().Usable()
}

func (d *Dataset) begin(ctx context.Context) error { return given.Check(ctx, d.usable(), errNoDataset) }

func (v *Version) begin(ctx context.Context) error {
	return given.Check(ctx, v != nil && v.set().Usable(), errNoVersion)
}
