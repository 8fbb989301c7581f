// Package jobs has what all jobs over a version have in common: each checks its version
// first, and continues if individual files fail.
package jobs

import (
	"context"
	"errors"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
)

var errNotRead = errors.New("dataset: a version that was not read from a dataset")

// Check returns an error for a version that was not read from a vault, before anything is done.
func Check(ctx context.Context, v *dataset.Version) error {
	return given.Check(ctx, v != nil && objects.Of(v).Usable(), errNotRead)
}

// DatasetOf returns the dataset that a version belongs to.
func DatasetOf(v *dataset.Version) *dataset.Dataset {
	d := &dataset.Dataset{Name: v.Dataset()}
	objects.Bind(d, objects.Of(v))
	return d
}
