package local_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// newVault is a vault with a dataset scans of two versions.
func newVault(t *testing.T) *vault.Vault {
	t.Helper()
	dir := t.TempDir()
	v, _, err := config.Init(t.Context(), &config.Config{Vault: config.Setting{Value: filepath.Join(dir, "vault")}, LocalKey: config.Setting{Value: filepath.Join(dir, "key")}})
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(src, "a.txt"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		d, err := dataset.Open(v, "scans")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := uploader.Upload(t.Context(), d, src, uploader.Options{Checksum: true}); err != nil {
			t.Fatal(err)
		}
		d.Close()
	}
	return v
}

// newJob runs a script of the shell, with its files in a folder of the test.
func newJob(t *testing.T, script string) (j *local.Job, out *output) {
	out = &output{}
	return &local.Job{Name: "j", Command: []string{"sh", "-c", script}, Dir: t.TempDir(), Stdout: out, Stderr: out}, out
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// However a job ends, its result is what SageMaker would say, the model is kept where
// SageMaker would keep it, and no plaintext is left.
// Scripts wait in a loop: a shell that gets a signal just before wait heeds it when wait is over.
func TestRun(t *testing.T) {
	v := newVault(t)
	const stopped = `trap 'echo saved >$SM_MODEL_DIR/m; exit 0' TERM; echo ready; while :; do sleep 0.05; done`
	for name, c := range map[string]struct {
		script  string
		signals int
		want    local.Result
		said    string
		output  bool
	}{
		"it completes": {`cat $SM_CHANNEL_TRAINING/a.txt; cat $SM_CHANNEL_OLD/a.txt; cat $SM_CHANNEL_PLAIN/p; echo model >$SM_MODEL_DIR/m`, 0,
			local.Result{Status: local.Completed}, "twooneplain", true},
		"it fails":              {`echo why >$SM_OUTPUT_DIR/failure; exit 7`, 0, local.Result{Status: local.Failed, Code: 7, Reason: "AlgorithmError: why\n, exit code: 7"}, "", false},
		"a signal ends it":      {`kill -KILL $$`, 0, local.Result{Status: local.Failed, Code: 137, Reason: "AlgorithmError: , exit code: 137"}, "", false},
		"it is stopped":         {stopped, 1, local.Result{Status: local.Stopped}, "ready\n", true},
		"it leaves no model":    {`trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done`, 1, local.Result{Status: local.Stopped}, "ready\n", false},
		"it heeds no SIGTERM":   {`trap '' TERM; echo ready; sleep 60; sleep 60`, 2, local.Result{Status: local.Stopped, Code: 137}, "ready\n", false},
		"it runs too long":      {`sh -c 'trap "echo saved >$SM_MODEL_DIR/m; exit 3" TERM; echo ready; while :; do sleep 0.05; done'; exit 0`, 0, local.Result{Status: local.Stopped, Code: 143, Reason: local.MaxRuntimeExceeded}, "ready\n", true},
		"and heeds no SIGTERM":  {`trap '' TERM; echo ready; sleep 60; sleep 60`, 0, local.Result{Status: local.Stopped, Code: 137, Reason: local.MaxRuntimeExceeded}, "ready\n", false},
		"it ends in time":       {`echo ready; echo m >$SM_MODEL_DIR/m; exit 0`, 0, local.Result{Status: local.Completed}, "ready\n", true},
		"it has no model":       {`echo ready; exit 0`, 0, local.Result{Status: local.Completed, NoModel: true}, "ready\n", false},
		"it outlives its grace": {`trap '' TERM; echo ready; sleep 60; sleep 60`, 1, local.Result{Status: local.Stopped, Code: 137}, "ready\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			j, out := newJob(t, c.script)
			plain := filepath.Join(t.TempDir(), "plain")
			if err := errors.Join(os.Mkdir(plain, 0o755), os.WriteFile(filepath.Join(plain, "p"), []byte("plain"), 0o644)); err != nil {
				t.Fatal(err)
			}
			if err := j.Fill(t.Context(), v, local.Channels{Main: "scans", More: map[string]string{"old": "scans@1", "plain": plain}}); err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			got := false
			j.Output = func(ctx context.Context, r *local.Results) error {
				got = true
				dir := t.TempDir()
				if err := local.CopyTo(ctx, r, dir, nil); err != nil {
					return err
				}
				_, err := os.Stat(filepath.Join(dir, "model.tar.gz"))
				return err
			}
			switch name {
			case "it outlives its grace":
				j.Grace = 300 * time.Millisecond
			case "and heeds no SIGTERM":
				j.Grace, j.MaxRuntime = 300*time.Millisecond, 300*time.Millisecond
			case "it runs too long":
				j.MaxRuntime = 500 * time.Millisecond
			case "it ends in time":
				j.MaxRuntime = time.Minute
			}
			signals := make(chan os.Signal, 2)
			j.Signals = signals
			go func() {
				for range 2000 {
					if c.signals == 0 || strings.Contains(out.String(), "ready") {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				for range c.signals {
					signals <- syscall.SIGTERM
				}
			}()
			res, err := j.Run(t.Context())
			if err != nil || *res != c.want {
				t.Errorf("%+v, %v\n%s", res, err, out)
			}
			if !strings.HasPrefix(out.String(), c.said) || got != c.output {
				t.Errorf("output %q; a model was kept: %v", out, got)
			}
			if left, err := os.ReadDir(j.Dir); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// changePacks changes a bit of each pack of a dataset.
func changePacks(t *testing.T, v *vault.Vault, set string) {
	t.Helper()
	for o, err := range v.List(t.Context(), set+"/packs/") {
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(v.Location, o.Name)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// What is changed in the vault is never trained on: the command is not started.
func TestRunOnWhatWasChanged(t *testing.T) {
	v := newVault(t)
	changePacks(t, v, "scans")
	j, out := newJob(t, "echo started")
	if err := j.Fill(t.Context(), v, local.Channels{Main: "scans"}); err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	res, err := j.Run(t.Context())
	if err == nil || res == nil || res.Status != local.Failed || strings.Contains(out.String(), "started") {
		t.Errorf("%+v, %v\n%s", res, err, out)
	}
}

func TestFill(t *testing.T) {
	v := newVault(t)
	for name, c := range map[string]struct {
		channels local.Channels
		sealed   string
		plain    int
		wrong    func(error) bool
	}{
		"one":               {local.Channels{Main: "scans"}, "training=2", 0, nil},
		"an older one":      {local.Channels{Main: "scans@1", More: map[string]string{"new": "scans", "p": "./p", "q": "a/b"}}, "training=1 new=2", 2, nil},
		"by its name only":  {local.Channels{More: map[string]string{"a": "scans@1", "training": "scans@2"}}, "training=2 a=1", 0, nil},
		"no main one":       {local.Channels{More: map[string]string{"a": "./a", "b": "scans@1", "c": "scans"}}, "b=1 c=2", 1, nil},
		"folders only":      {local.Channels{More: map[string]string{"a": "./a"}}, "", 0, isChannelError},
		"a URI":             {local.Channels{Main: "scans", More: map[string]string{"a": "s3://bucket/a"}}, "", 0, isChannelError},
		"no dataset":        {local.Channels{Main: "none"}, "", 0, func(err error) bool { return errors.Is(err, dataset.ErrUnknownDataset) }},
		"no version":        {local.Channels{Main: "scans", More: map[string]string{"new": "scans@9"}}, "", 0, func(err error) bool { return errors.Is(err, dataset.ErrUnknownVersion) }},
		"a bad reference":   {local.Channels{Main: "scans@1x"}, "", 0, isChannelError},
		"nothing":           {local.Channels{}, "", 0, isChannelError},
		"the main one":      {local.Channels{Main: "scans", More: map[string]string{"training": "scans"}}, "", 0, isChannelError},
		"vaultpack's own":   {local.Channels{Main: "scans", More: map[string]string{"vaultpack": "scans"}}, "", 0, isChannelError},
		"out of the folder": {local.Channels{Main: "scans", More: map[string]string{"../x": "scans"}}, "", 0, isChannelError},
	} {
		t.Run(name, func(t *testing.T) {
			j, _ := newJob(t, "true")
			err := j.Fill(t.Context(), v, c.channels)
			if c.wrong != nil {
				if !c.wrong(err) {
					t.Error(err)
				}
				for _, s := range j.Sealed {
					if _, err := s.Dataset.Latest(t.Context()); !errors.Is(err, dataset.ErrClosed) && !errors.Is(err, dataset.ErrUnknownDataset) {
						t.Errorf("dataset of %s is open: %v", s.Channel, err)
					}
				}
				return
			}
			defer j.Close()
			var sealed []string
			for _, s := range j.Sealed {
				sealed = append(sealed, s.Channel+"="+string('0'+rune(s.Version.Number)))
			}
			if got := strings.Join(sealed, " "); err != nil || got != c.sealed || len(j.Plain) != c.plain || !slices.Equal(j.Keys, v.Keys.Open) {
				t.Errorf("%s, %v, %v", got, j.Plain, err)
			}
		})
	}
}

func isChannelError(err error) bool {
	var e *local.ChannelError
	return errors.As(err, &e)
}

func TestNewName(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	for dataset, want := range map[string]string{
		"scans":                 "scans-2026-01-02-03-04-05-006",
		"a_b..c-":               "a-b-c-2026-01-02-03-04-05-006",
		strings.Repeat("x", 90): strings.Repeat("x", 32) + "-2026-01-02-03-04-05-006",
	} {
		got := local.NewName(dataset, now)
		if cut := got[:len(got)-7]; cut != want || got == local.NewName(dataset, now) || !regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`).MatchString(got) {
			t.Errorf("%s: %s", dataset, got)
		}
	}
}
