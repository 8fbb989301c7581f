// Package jobs has what all jobs over a version have in common: each is begun once, on what
// there is, and continues where single files fail.
package jobs

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
)

var (
	errNotRead = errors.New("dataset: a version that was not read from a dataset")
	errUsed    = errors.New("dataset: this job has already been run; create another one")
)

// Check refuses a version that was not read from a vault, before anything is done.
func Check(ctx context.Context, v *dataset.Version) error {
	return given.Check(ctx, v != nil && objects.Of(v).Usable(), errNotRead)
}

// Begin is Check for a job that runs once.
func Begin(ctx context.Context, v *dataset.Version, used *atomic.Bool) error {
	if err := Check(ctx, v); err != nil {
		return err
	}
	if used.Swap(true) {
		return errUsed
	}
	return nil
}

// DatasetOf is the dataset that a version is of.
func DatasetOf(v *dataset.Version) *dataset.Dataset {
	d := &dataset.Dataset{Name: v.Dataset()}
	objects.Bind(d, objects.Of(v))
	return d
}
