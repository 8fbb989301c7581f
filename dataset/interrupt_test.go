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
	_, err := restore.Run(t.Context(), v, filepath.Join(t.TempDir(), "whole"), restore.Options{})
	must(t, err)
	whole := time.Since(began)
	runs, kept := 200, 0
	if testing.Short() {
		runs = 40
	}
	for n := 0; n < runs; {
		out := filepath.Join(t.TempDir(), "out")
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(whole)*5/4)))
			res, err := restore.Run(ctx, v, out, restore.Options{Failed: func(path string, err error) { t.Errorf("%s: %v", path, err) }})
			cancel()
			n++
			if res.Unchanged > 0 {
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
		"restore": func() error {
			_, err := restore.Run(t.Context(), v, filepath.Join(t.TempDir(), "out"), restore.Options{})
			return err
		},
		"verify":  func() error { _, err := verify.Run(t.Context(), v, verify.Options{}); return err },
		"all":     func() error { _, err := verify.Run(t.Context(), v, verify.Options{Sample: 1}); return err },
		"against": func() error { _, err := verify.Against(t.Context(), v, src, verify.Options{}); return err },
	} {
		err := run()
		var partial *dataset.PartialError
		if !errors.As(err, &partial) || partial.Count == 0 || !errors.Is(err, envelope.ErrAuthentication) {
			t.Errorf("%s of a damaged pack: %v", name, err)
		}
	}
	must(t, os.Remove(packs[1]))
	if _, err := verify.Run(t.Context(), v, verify.Options{}); !errors.Is(err, dataset.ErrMissing) {
		t.Errorf("a missing pack: %v", err)
	}
}

// Misuse is an error, and never a panic or a success.
func TestMisuse(t *testing.T) {
	t.Parallel()
	v, src, _ := sealed(t, 64<<10, func(src string) { write(t, filepath.Join(src, "a"), []byte("a")) })
	var none context.Context
	dir := func() string { return filepath.Join(t.TempDir(), "out") }
	over, cancel := context.WithCancel(t.Context())
	cancel()
	file := filepath.Join(src, "a")
	for name, run := range map[string]func() error{
		"restore, nil context": func() error { _, err := restore.Run(none, v, dir(), restore.Options{}); return err },
		"restore, nil version": func() error { _, err := restore.Run(t.Context(), nil, dir(), restore.Options{}); return err },
		"restore, zero version": func() error {
			_, err := restore.Run(t.Context(), &dataset.Version{}, dir(), restore.Options{})
			return err
		},
		"restore, no destination": func() error { _, err := restore.Run(t.Context(), v, "", restore.Options{}); return err },
		"restore, to a file":      func() error { _, err := restore.Run(t.Context(), v, file, restore.Options{}); return err },
		"restore, cancelled":      func() error { _, err := restore.Run(over, v, dir(), restore.Options{}); return err },
		"restore, overwrite":      func() error { _, err := restore.Run(t.Context(), v, dir(), restore.Options{Overwrite: 9}); return err },
		"verify, nil context":     func() error { _, err := verify.Run(none, v, verify.Options{}); return err },
		"verify, nil version":     func() error { _, err := verify.Run(t.Context(), nil, verify.Options{}); return err },
		"verify, zero version":    func() error { _, err := verify.Run(t.Context(), &dataset.Version{}, verify.Options{}); return err },
		"verify, cancelled":       func() error { _, err := verify.Run(over, v, verify.Options{}); return err },
		"verify, negative sample": func() error { _, err := verify.Run(t.Context(), v, verify.Options{Sample: -1}); return err },
		"verify, too much":        func() error { _, err := verify.Run(t.Context(), v, verify.Options{Sample: 1.01}); return err },
		"verify, no number":       func() error { _, err := verify.Run(t.Context(), v, verify.Options{Sample: math.NaN()}); return err },
		"against, nil context":    func() error { _, err := verify.Against(none, v, src, verify.Options{}); return err },
		"against, nil version":    func() error { _, err := verify.Against(t.Context(), nil, src, verify.Options{}); return err },
		"against, no folder":      func() error { _, err := verify.Against(t.Context(), v, "", verify.Options{}); return err },
		"against, a file":         func() error { _, err := verify.Against(t.Context(), v, file, verify.Options{}); return err },
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
