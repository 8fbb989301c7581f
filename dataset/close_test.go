package dataset_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/uploader"
)

// A Close beside a Verify or a Restore ends it, and is not told as damage.
func TestCloseBesideJobs(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	v, _, err := config.Init(ctx, &config.Config{Vault: config.Setting{Value: dir + "/vault"}, LocalKey: config.Setting{Value: dir + "/key"}})
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if err := os.WriteFile(filepath.Join(src, fmt.Sprint(i)), make([]byte, 5000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := dataset.Open(v, "d")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := uploader.Upload(ctx, d, src, uploader.Options{PackSize: 32 << 10}); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if _, err := d.Version(ctx, 1); !errors.Is(err, dataset.ErrClosed) {
		t.Errorf("a version of a closed dataset: %v", err)
	}
	ended := 0
	for i := range 60 {
		d, err := dataset.Open(v, "d")
		if err != nil {
			t.Fatal(err)
		}
		ver, err := d.Version(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			time.Sleep(time.Duration(i) * 100 * time.Microsecond)
			d.Close()
		}()
		var failures int64
		if i%2 == 0 {
			var res verify.Result
			res, err = verify.Run(ctx, ver, verify.Options{Failed: func(err error) { t.Errorf("told as damage: %v", err) }})
			failures = res.Failures
		} else {
			var res restore.Result
			res, err = restore.Run(ctx, ver, filepath.Join(dir, fmt.Sprint("out", i)), restore.Options{})
			failures = res.Failures
		}
		if err != nil && err != dataset.ErrClosed || failures != 0 {
			t.Errorf("round %d: %v, %d failures", i, err, failures)
		}
		if err != nil {
			ended++
		}
		<-closed
	}
	t.Logf("%d of 60 were ended", ended)
	new(dataset.Dataset).Close()
}
