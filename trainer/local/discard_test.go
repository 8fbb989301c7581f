//go:build linux

package local_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/trainer/local"
)

const immutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h

// pin keeps a file from being removed, by root too, until the function that it returns is
// called.
func pin(t *testing.T, file string) (release func()) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, immutable); err != nil {
		t.Skipf("a file that cannot be removed cannot be had here: %v", err)
	}
	release = func() { unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0) }
	t.Cleanup(release)
	return release
}

// What is left where results were removed in part, once they were delivered, is never
// delivered: it would take the place of all of them.
func TestPartlyRemovedResultsAreNotDelivered(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	const script = `cd ${SM_MODEL_DIR%/model}/checkpoints; echo one >n; echo x >padding; cd $SM_MODEL_DIR; echo m >m; echo w >weights`
	for _, file := range []string{"checkpoints/n", "checkpoints/padding", "model/m"} {
		t.Run(file, func(t *testing.T) {
			v := newVault(t)
			at := local.Destination{Dataset: "ckpt", Vault: v.Location}
			j, _ := newJob(t, script)
			j.Dir = t.TempDir()
			keeping(t, j, v, at, "first")
			away := errors.New("the vault is away")
			j.Output = func(context.Context, *local.Results) error { return nil }
			j.Keep = func(context.Context, *local.Results) error { return away }
			if _, err := j.Run(t.Context()); !errors.Is(err, away) {
				t.Fatal(err)
			}
			k, err := local.Find("first", j.Dir)
			if err != nil {
				t.Fatal(err)
			}
			release := pin(t, filepath.Join(k.Dir, "ml", file))
			kept := 0
			keep := func(ctx context.Context, r *local.Results) error { kept++; return bring(ctx, r, v, at) }
			deliver := func(context.Context, *local.Results) error { return nil }
			if err := k.Deliver(t.Context(), deliver, keep); err == nil || kept != 1 {
				t.Fatalf("%v, kept %d times", err, kept)
			}
			if file == "model/m" { // the whole folder was to go: this process lives, so only the next one removes the rest
				if _, err := os.Lstat(filepath.Join(k.Dir, "ml")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("a part of the results is where they were: %v", err)
				}
				return
			}
			release()
			if k, err = local.Find("first", j.Dir); err != nil { // the model was not delivered
				t.Fatal(err)
			}
			if err := k.Deliver(t.Context(), deliver, keep); err != nil || kept != 1 {
				t.Errorf("again: %v, kept %d times", err, kept)
			}
			next, out := newJob(t, "ls ${SM_MODEL_DIR%/model}/checkpoints")
			next.Dir = j.Dir
			keeping(t, next, v, at, "next")
			if _, err := next.Run(t.Context()); err != nil || out.String() != "n\npadding\n" {
				t.Errorf("the next job: %v, %q", err, out)
			}
			if left, err := os.ReadDir(j.Dir); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}
