package dataset_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
)

// sealed makes a vault with one dataset of what fill writes.
func sealed(t testing.TB, packSize int64, fill func(src string)) (v *dataset.Version, src, store string) {
	t.Helper()
	dir := t.TempDir()
	src, store = filepath.Join(dir, "src"), filepath.Join(dir, "vault")
	must(t, os.Mkdir(src, 0o750))
	fill(src)
	vlt, _, err := config.Init(t.Context(), &config.Config{Vault: config.Setting{Value: store}, LocalKey: config.Setting{Value: dir + "/key"}})
	must(t, err)
	d, err := dataset.Open(vlt, "d")
	must(t, err)
	t.Cleanup(d.Close)
	res, err := uploader.Upload(t.Context(), d, src, uploader.Options{PackSize: packSize, Checksum: true})
	must(t, err)
	return res.Version, src, store
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, b, 0o644))
}

// A restore that is cancelled at any moment says so, leaves nothing half-written, and
// the next ones end in the very tree.
func TestRestoreCancelledAtAnyMoment(t *testing.T) {
	t.Parallel()
	v, src, _ := sealed(t, 64<<10, func(src string) {
		for i := range 60 {
			write(t, filepath.Join(src, fmt.Sprint(i%7), fmt.Sprint(i)), treetest.Bytes(rand.Int64N(9000), byte(i)))
		}
		write(t, filepath.Join(src, "large"), treetest.Bytes(2<<20+17, 3))
		must(t, os.Symlink("large", filepath.Join(src, "link")))
		must(t, os.Chmod(filepath.Join(src, "3"), 0o500))
	})
	began := time.Now()
	must(t, (&restore.Job{}).Run(t.Context(), v, filepath.Join(t.TempDir(), "whole")))
	whole := time.Since(began)
	runs, kept := 200, 0
	if testing.Short() {
		runs = 40
	}
	for n := 0; n < runs; {
		out := filepath.Join(t.TempDir(), "out")
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(whole)*5/4)))
			r := &restore.Job{Failed: func(path string, err error) { t.Errorf("%s: %v", path, err) }}
			err := r.Run(ctx, v, out)
			cancel()
			n++
			if r.Unchanged.Load() > 0 {
				kept++
			}
			if err == nil {
				break
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			if left, _ := filepath.Glob(filepath.Join(out, ".vaultpack*")); len(left) > 0 {
				t.Fatalf("left behind: %q", left)
			}
		}
		treetest.Equal(t, src, out)
		if t.Failed() {
			return
		}
	}
	if kept == 0 {
		t.Error("no interrupted restore has kept anything")
	}
}

// What fails is in the error, whatever else there is, and whether or not anybody is told.
func TestFailsClosed(t *testing.T) {
	t.Parallel()
	v, src, store := sealed(t, 64<<10, func(src string) {
		for i := range 50 {
			write(t, filepath.Join(src, fmt.Sprint(i)), treetest.Bytes(5000, byte(i)))
		}
	})
	packs, err := filepath.Glob(filepath.Join(store, "d/packs/*"))
	if err != nil || len(packs) < 3 {
		t.Fatal(packs, err)
	}
	b, err := os.ReadFile(packs[1])
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(packs[1], b, 0o644))
	for name, run := range map[string]func() error{
		"restore": func() error { return (&restore.Job{}).Run(t.Context(), v, filepath.Join(t.TempDir(), "out")) },
		"verify":  func() error { return (&verify.Job{}).Run(t.Context(), v) },
		"all":     func() error { return (&verify.Job{Sample: 1}).Run(t.Context(), v) },
		"against": func() error { return (&verify.Job{}).Against(t.Context(), v, src) },
	} {
		err := run()
		var partial *dataset.PartialError
		if !errors.As(err, &partial) || partial.Count == 0 || !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s of a damaged pack: %v", name, err)
		}
	}
	must(t, os.Remove(packs[1]))
	if err := (&verify.Job{}).Run(t.Context(), v); !errors.Is(err, dataset.ErrMissing) {
		t.Errorf("a missing pack: %v", err)
	}
}

// Misuse is an error, and never a panic or a success.
func TestMisuse(t *testing.T) {
	t.Parallel()
	v, src, _ := sealed(t, 64<<10, func(src string) { write(t, filepath.Join(src, "a"), []byte("a")) })
	var none context.Context
	dir := func() string { return filepath.Join(t.TempDir(), "out") }
	again, twice := &restore.Job{}, &verify.Job{}
	must(t, again.Run(t.Context(), v, dir()))
	must(t, twice.Run(t.Context(), v))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	file := filepath.Join(src, "a")
	for name, run := range map[string]func() error{
		"restore, nil context":    func() error { return (&restore.Job{}).Run(none, v, dir()) },
		"restore, nil version":    func() error { return (&restore.Job{}).Run(t.Context(), nil, dir()) },
		"restore, zero version":   func() error { return (&restore.Job{}).Run(t.Context(), &dataset.Version{}, dir()) },
		"restore, no destination": func() error { return (&restore.Job{}).Run(t.Context(), v, "") },
		"restore, to a file":      func() error { return (&restore.Job{}).Run(t.Context(), v, file) },
		"restore, again":          func() error { return again.Run(t.Context(), v, dir()) },
		"restore, cancelled":      func() error { return (&restore.Job{}).Run(over, v, dir()) },
		"restore, overwrite":      func() error { return (&restore.Job{Overwrite: 9}).Run(t.Context(), v, dir()) },
		"verify, nil context":     func() error { return (&verify.Job{}).Run(none, v) },
		"verify, nil version":     func() error { return (&verify.Job{}).Run(t.Context(), nil) },
		"verify, zero version":    func() error { return (&verify.Job{}).Run(t.Context(), &dataset.Version{}) },
		"verify, again":           func() error { return twice.Run(t.Context(), v) },
		"verify, cancelled":       func() error { return (&verify.Job{}).Run(over, v) },
		"verify, negative sample": func() error { return (&verify.Job{Sample: -1}).Run(t.Context(), v) },
		"verify, too much":        func() error { return (&verify.Job{Sample: 1.01}).Run(t.Context(), v) },
		"verify, no number":       func() error { return (&verify.Job{Sample: math.NaN()}).Run(t.Context(), v) },
		"against, nil context":    func() error { return (&verify.Job{}).Against(none, v, src) },
		"against, nil version":    func() error { return (&verify.Job{}).Against(t.Context(), nil, src) },
		"against, no folder":      func() error { return (&verify.Job{}).Against(t.Context(), v, "") },
		"against, a file":         func() error { return (&verify.Job{}).Against(t.Context(), v, file) },
		"against, again":          func() error { return twice.Against(t.Context(), v, src) },
		"upload, nil context":     func() error { _, err := uploader.Upload(none, nil, src, uploader.Options{}); return err },
		"upload, nil dataset":     func() error { _, err := uploader.Upload(t.Context(), nil, src, uploader.Options{}); return err },
		"upload, zero dataset": func() error {
			_, err := uploader.Upload(t.Context(), &dataset.Dataset{}, src, uploader.Options{})
			return err
		},
		"stream, nil dataset": func() error {
			_, err := uploader.UploadStream(t.Context(), nil, bytes.NewReader(nil), "a", uploader.Options{})
			return err
		},
	} {
		if err := run(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
