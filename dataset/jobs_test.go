package dataset_test

import (
	"context"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/trainer/container/unpack"
)

var ctx = context.Background()

// restoreJob, verifyJob and openInPlace are what reads a version whole.
func restoreJob(ctx context.Context, v *dataset.Version, dir string, failed func(string, error)) error {
	_, err := restore.Run(ctx, v, dir, restore.Options{Failed: failed})
	return err
}

func verifyJob(ctx context.Context, v *dataset.Version, failed func(error)) error {
	_, err := verify.Run(ctx, v, verify.Options{Sample: 1, Failed: failed})
	return err
}

func openInPlace(ctx context.Context, v *dataset.Version, dir string, tars bool) error {
	u, err := unpack.Prepare(ctx, v, dir, unpack.Options{Name: "training", Tars: tars})
	if err != nil {
		return err
	}
	defer u.Close()
	_, err = u.Run(ctx)
	return err
}
