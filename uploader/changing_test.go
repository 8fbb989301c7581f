package uploader_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/verify"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/uploader"
)

// onceSo reports whether the file can have had these contents at one moment. It is
// written from its beginning to its end, block by block, with one byte value after
// the other: so it holds one value, or begins with the one after that of its rest.
func onceSo(b []byte, block int) bool {
	changes := 0
	for i := block; i < len(b); i += block {
		if b[i] != b[i-1] {
			changes++
			if b[i-1] != b[i]+1 {
				return false
			}
		}
	}
	for i := 0; i < len(b); i += block {
		if end := min(i+block, len(b)); bytes.Count(b[i:end], b[i:i+1]) != end-i {
			return false
		}
	}
	return changes <= 1
}

// Files that are written to all the time are uploaded in a state that they once
// were in, if need be an older one. Only where there is none are they a mixture of
// several; then their entries say so.
func TestFilesThatChange(t *testing.T) {
	v, src := newVault(t), t.TempDir()
	sizes := map[string]int{"small": 64 << 10, "medium": 5 << 20, "large": 14 << 20} // whole, streamed into a tar, in pieces
	const block = 64 << 10
	set := func(name string, b byte) {
		f, err := os.OpenFile(filepath.Join(src, name), os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for buf, n := bytes.Repeat([]byte{b}, block), 0; n < sizes[name]; n += len(buf) {
			f.Write(buf)
		}
	}
	for name := range sizes {
		set(name, 0)
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for name := range sizes {
		writers.Go(func() {
			for b := byte(1); ; b++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(b%40) * time.Millisecond):
				}
				set(name, b)
			}
		})
	}
	came, reported := 0, 0
	for range race.Rounds(12, 4) {
		var failed []string
		var mu sync.Mutex
		opts := uploader.Options{PackSize: 6 << 20, Failed: func(path string, err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, path)
			if !strings.Contains(err.Error(), "changed while it was being read") {
				t.Errorf("%s: %v", path, err)
			}
		}}
		res, err := uploader.Upload(ctx, open(t, v, "d"), src, opts)
		var partial *dataset.PartialError
		if err != nil && (!errors.As(err, &partial) || partial.Count != res.Stats.Failures) {
			t.Error(err)
			break
		}
		verified(t, res.Version)
		out := filepath.Join(t.TempDir(), "out")
		restoreTo(t, res.Version, out)
		for name, size := range sizes {
			b, err := os.ReadFile(filepath.Join(out, name))
			e, lerr := res.Version.Lookup(ctx, name)
			if lerr != nil || (e.Flaw != "") != slices.Contains(failed, name) {
				t.Fatalf("%s: flaw %q, reported: %q (%v)", name, e.Flaw, failed, lerr)
			}
			if e.Flaw == tree.FlawTorn {
				reported++
				continue
			}
			came++
			if err != nil || len(b) != size || !onceSo(b, block) {
				t.Errorf("%s: %d bytes, which it never held at one moment (%v)", name, len(b), err)
			}
		}
	}
	close(stop)
	writers.Wait()
	t.Logf("%d files came, %d as a mixture", came, reported)
	_, res := upload(t, v, "d", src, func(u *uploader.Options) { u.PackSize = 6 << 20 })
	out := filepath.Join(t.TempDir(), "out")
	restoreTo(t, res.Version, out)
	treetest.Equal(t, src, out)
	if _, err := verify.Against(ctx, res.Version, src, verify.Options{Failed: func(err error) { t.Error(err) }}); err != nil {
		t.Fatal(err)
	}
}
