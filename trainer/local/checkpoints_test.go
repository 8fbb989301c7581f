package local_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// keeping has a job keep its checkpoints at a place, and tells how often it has.
func keeping(t *testing.T, j *local.Job, v *vault.Vault, at local.Destination, name string) (kept *int) {
	t.Helper()
	if err := j.Fill(t.Context(), v, local.Channels{Main: "scans"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	if err := j.Resume(t.Context(), v, at); err != nil {
		t.Fatal(err)
	}
	j.Name, kept = name, new(int)
	j.Keep = func(ctx context.Context, r *local.Results) error { *kept++; return bring(ctx, r, v, at) }
	return kept
}

func bring(ctx context.Context, r *local.Results, v *vault.Vault, at local.Destination) error {
	warn := func(error) {}
	if at.Folder != "" {
		return local.CopyCheckpoints(ctx, r, at.Folder, warn)
	}
	d, err := dataset.Open(v, at.Dataset)
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = local.SealCheckpoints(ctx, r, d, warn)
	return err
}

// However a job ends, the next one of the same place begins with the checkpoints that it had.
func TestCheckpoints(t *testing.T) {
	v := newVault(t)
	const count = `cd ${SM_MODEL_DIR%/model}/checkpoints; mkdir -p sub; n=$(cat sub/n 2>/dev/null || echo 0); echo $n $(ls); n=$((n+1)); echo $n >sub/n; echo $n >step-$n; rm -f step-$((n-1)); `
	for name, at := range map[string]local.Destination{
		"a folder":  {Folder: filepath.Join(t.TempDir(), "made", "here")},
		"a dataset": {Dataset: "ckpt", Vault: v.Location},
	} {
		t.Run(name, func(t *testing.T) {
			for i, c := range []struct {
				end    string
				status local.Status
				said   string
				kept   int
			}{
				{"", local.Completed, "0 sub", 1},
				{"exit 3", local.Failed, "1 step-1 sub", 1},
				{"kill -KILL $$", local.Failed, "2 step-2 sub", 1},
				{"trap '' TERM; sleep 60; sleep 60", local.Stopped, "3 step-3 sub", 1},
				{"rm -r *", local.Completed, "4 step-4 sub", 0}, // there is nothing to keep
				{"", local.Completed, "4 step-4 sub", 1},
			} {
				j, out := newJob(t, count+c.end)
				j.Grace = 100 * time.Millisecond
				kept := keeping(t, j, v, at, "j")
				if c.status == local.Stopped {
					j.MaxRuntime = 2 * time.Second
				}
				res, err := j.Run(t.Context())
				if err != nil || res.Status != c.status || *kept != c.kept {
					t.Fatalf("%d: %+v, %v, kept %d times\n%s", i, res, err, *kept, out)
				}
				// A folder keeps what the job has removed, as S3 does.
				said := strings.TrimSpace(out.String())
				if at.Dataset != "" && said != c.said || !strings.HasPrefix(said, c.said[:2]) || !strings.HasSuffix(said, " sub") {
					t.Errorf("%d: %q, want %q", i, said, c.said)
				}
				if left, err := os.ReadDir(j.Dir); err != nil || len(left) > 0 {
					t.Errorf("%d: left: %v, %v", i, left, err)
				}
			}
		})
	}
}

// Checkpoints that could not be kept are left, also where the results are dropped. Nobody
// begins without them until they are in their place.
func TestCheckpointsThatAreNotKept(t *testing.T) {
	v := newVault(t)
	at := local.Destination{Dataset: "ckpt", Vault: v.Location}
	work := t.TempDir()
	j, _ := newJob(t, `echo one >${SM_MODEL_DIR%/model}/checkpoints/n; echo m >$SM_MODEL_DIR/m; exit 1`)
	j.Dir = work
	keeping(t, j, v, at, "first")
	errAway := errors.New("the vault is away")
	j.Keep = func(context.Context, *local.Results) error { return errAway }
	var kept *local.UndeliveredError
	if res, err := j.Run(t.Context()); !errors.As(err, &kept) || !errors.Is(err, errAway) || res.Status != local.Failed {
		t.Fatalf("%+v, %v", res, err)
	}
	next, _ := newJob(t, "echo started")
	next.Dir, next.Name = work, "second"
	if err := next.Resume(t.Context(), v, at); !errors.Is(err, local.ErrPlaceTaken) || !strings.Contains(err.Error(), "job first (Failed)") {
		t.Errorf("a second job: %v", err)
	}
	k, err := local.Find("first", work)
	if err != nil || k.Checkpoints != at || !k.Drop {
		t.Fatalf("%+v, %v", k, err)
	}
	if err := k.Deliver(t.Context(), nil, nil); err == nil {
		t.Error("delivered nowhere")
	}
	results := 0
	err = k.Deliver(t.Context(), func(context.Context, *local.Results) error { results++; return nil }, func(ctx context.Context, r *local.Results) error { return bring(ctx, r, v, at) })
	if left, _ := os.ReadDir(work); err != nil || results != 1 || len(left) > 0 {
		t.Errorf("%v, %d results, left %v", err, results, left)
	}
	last, out := newJob(t, `cat ${SM_MODEL_DIR%/model}/checkpoints/n`)
	keeping(t, last, v, at, "last")
	if _, err := last.Run(t.Context()); err != nil || out.String() != "one\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// A job that cannot begin with what was left is not started, and changes nothing of it.
func TestCheckpointsThatCannotBeHad(t *testing.T) {
	v := newVault(t)
	at := local.Destination{Dataset: "ckpt", Vault: v.Location}
	first, _ := newJob(t, `echo one >${SM_MODEL_DIR%/model}/checkpoints/n`)
	keeping(t, first, v, at, "first")
	if _, err := first.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Of a dataset of other files none are made checkpoints.
	other, _ := newJob(t, "echo started")
	if err := other.Resume(t.Context(), v, local.Destination{Dataset: "scans", Vault: v.Location}); !errors.Is(err, local.ErrNotCheckpoints) {
		t.Errorf("other files: %v", err)
	}
	other.Close()
	// What cannot be started has made none.
	none, _ := newJob(t, "")
	none.Command = []string{filepath.Join(t.TempDir(), "no-such-command")}
	kept := keeping(t, none, v, at, "none")
	if res, err := none.Run(t.Context()); err == nil || *kept > 0 {
		t.Errorf("no command: %+v, %v, kept %d times", res, err, *kept)
	}
	if left, _ := os.ReadDir(none.Dir); len(left) > 0 {
		t.Errorf("no command: left %v", left)
	}
	// Others may have kept theirs since.
	late, out := newJob(t, "echo started")
	kept = keeping(t, late, v, at, "late")
	d, err := dataset.Open(v, "ckpt")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	src := filepath.Join(t.TempDir(), "src")
	if err := errors.Join(os.MkdirAll(filepath.Join(src, "checkpoints"), 0o755), os.WriteFile(filepath.Join(src, "checkpoints", "n"), []byte("two\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := uploader.Upload(t.Context(), d, src, uploader.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := late.Run(t.Context()); !errors.Is(err, local.ErrOtherCheckpoints) || *kept > 0 || out.String() != "" {
		t.Errorf("others meanwhile: %v, kept %d times, %q", err, *kept, out)
	}
	// A pack that was changed.
	changePacks(t, v, "ckpt")
	torn, out := newJob(t, "echo started")
	kept = keeping(t, torn, v, at, "torn")
	if res, err := torn.Run(t.Context()); err == nil || *kept > 0 || out.String() != "" {
		t.Errorf("a torn pack: %+v, %v, kept %d times, %q", res, err, *kept, out)
	}
	if left, _ := os.ReadDir(torn.Dir); len(left) > 0 {
		t.Errorf("a torn pack: left %v", left)
	}
}
