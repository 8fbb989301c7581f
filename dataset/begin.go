package dataset

import (
	"context"
	"errors"

	"github.com/vaultpack/vaultpack/internal/given"
)

// What a caller has not made is told before anything is asked of the vault, and so is
// a context that has ended already.
var (
	errNoDataset = errors.New("dataset: a dataset that was not opened in a vault")
	errNoVault   = errors.New("dataset: a vault without a store or without keys")
	errNoVersion = errors.New("dataset: a version that was not read from a dataset")
)

// usable reports whether the dataset was opened, in a vault that can be asked.
func (d *Dataset) usable() bool {
	return d != nil && d.set().Usable()
}

func (d *Dataset) begin(ctx context.Context) error { return given.Check(ctx, d.usable(), errNoDataset) }

func (v *Version) begin(ctx context.Context) error {
	return given.Check(ctx, v != nil && v.set().Usable(), errNoVersion)
}
