package restore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/shards"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
)

// However many shards there are, and although some run twice at once and some are
// interrupted, the folder has in the end what the version has, with all modes and times:
// what was in the way is replaced, and what it does not have is gone.
func TestShardsMakeOneFolder(t *testing.T) {
	const packSize = 16 << 10
	src := t.TempDir()
	treetest.Odd(t, src, packSize)
	treetest.NoSetID(t, src)
	old := time.Date(2020, 1, 2, 3, 4, 5, 6, time.UTC)
	for i := range 60 {
		dir := filepath.Join(src, "many", fmt.Sprintf("class%d", i%3))
		check(t, os.MkdirAll(dir, 0o755))
		check(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d", i)), treetest.Bytes(int64(50*i), byte(i)), 0o644))
	}
	for _, dir := range []string{"many/class1", "many", ""} {
		check(t, os.Chtimes(filepath.Join(src, dir), old, old))
	}
	check(t, os.Chmod(filepath.Join(src, "many/class1"), 0o555)) // several shards write to it
	t.Cleanup(func() { os.Chmod(filepath.Join(src, "many/class1"), 0o755) })
	d := datasettest.New(t)
	pushed, err := uploader.Upload(t.Context(), d, src, uploader.Options{PackSize: packSize, Checksum: true})
	check(t, err)
	v := pushed.Version
	for _, n := range []int{1, 5, 16} {
		out := filepath.Join(t.TempDir(), "out")
		t.Cleanup(func() { os.Chmod(filepath.Join(out, "many/class1"), 0o755) })
		if n > 1 { // a state from before
			check(t, os.MkdirAll(filepath.Join(out, "many/class0/001/deep"), 0o755))
			check(t, os.MkdirAll(filepath.Join(out, "gone/too"), 0o755))
			for _, name := range []string{"many/class2", "many/0", "zzz", "gone/f"} {
				check(t, os.WriteFile(filepath.Join(out, name), []byte("another"), 0o600))
			}
		}
		run := func(ctx context.Context, i int) error {
			s, err := shards.Cut(ctx, v, i, n)
			if err != nil {
				return err
			}
			_, err = restore.Run(ctx, v, out, restore.Options{Shard: s, Delete: n > 1, Overwrite: restore.OverwriteAlways})
			return err
		}
		var wg sync.WaitGroup
		for i := range n {
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			if i%4 == 1 {
				time.AfterFunc(time.Duration(i)*time.Millisecond, cancel)
			}
			for range 1 + i%2 {
				wg.Go(func() {
					var partial *dataset.PartialError
					if err := run(ctx, i); err != nil && !errors.Is(err, context.Canceled) && !errors.As(err, &partial) {
						t.Errorf("shard %d of %d: %v", i, n, err)
					}
				})
			}
			if i%8 == 7 {
				wg.Wait()
			}
		}
		wg.Wait()
		for i := range n { // the engine runs again what has failed
			if err := run(t.Context(), i); err != nil {
				t.Errorf("shard %d of %d again: %v", i, n, err)
			}
		}
		if _, err := verify.Against(t.Context(), v, out, verify.Options{Failed: func(err error) { t.Error(n, err) }}); err != nil {
			t.Errorf("%d shards: %v", n, err)
		}
		left, err := filepath.Glob(filepath.Join(out, ".vaultpack-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%q is left, %v", left, err)
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
