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
	return (&restore.Job{Failed: failed}).Run(ctx, v, dir)
}

func verifyJob(ctx context.Context, v *dataset.Version, failed func(error)) error {
	return (&verify.Job{Sample: 1, Failed: failed}).Run(ctx, v)
}

func openInPlace(ctx context.Context, v *dataset.Version, dir string, tars bool) error {
	u := &unpack.Job{Name: "training", Tars: tars}
	defer u.Close()
	if err := u.Prepare(ctx, v, dir); err != nil {
		return err
	}
	return u.Run(ctx)
}
