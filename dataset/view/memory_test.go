package view_test

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// 64 readers at one time, in order and here and there, take what the options say and 100 MiB.
func TestMemoryOfManyReaders(t *testing.T) {
	race.Skip(t, "the detector takes memory of its own")
	const readers, memory = 64, 16 << 20
	want := treetest.Bytes(128<<20, 1)
	v, _, _ := sealed(t, 64<<20, func(src string) { write(t, filepath.Join(src, "large"), want) })
	f := open(t, v, view.Options{Memory: memory})
	defer debug.SetGCPercent(debug.SetGCPercent(5)) // what is no longer used is not counted
	held := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for range 3 { // which empties pools, too
		runtime.GC()
	}
	before, most := held(), uint64(0)
	ended := make(chan struct{})
	var all, watch sync.WaitGroup
	watch.Go(func() {
		for tick := time.Tick(2 * time.Millisecond); ; {
			select {
			case <-tick:
				most = max(most, held())
			case <-ended:
				return
			}
		}
	})
	for g := range readers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			file := must2(f.Open("large")).(*view.File)
			p := make([]byte, 128<<10)
			for i := range 16 {
				off := int64(g*(len(want)/readers) + i*len(p))
				if g%2 == 1 {
					off = rng.Int64N(int64(len(want) - len(p)))
				}
				if _, err := file.ReadAt(p, off); err != nil || !bytes.Equal(p, want[off:off+int64(len(p))]) {
					t.Errorf("%d bytes from %d: %v", len(p), off, err)
				}
			}
		})
	}
	all.Wait()
	close(ended)
	watch.Wait()
	if more := int64(most) - int64(before); more > memory+100<<20 {
		t.Errorf("%d MiB more were held", more>>20)
	} else {
		t.Logf("%d MiB more were held", more>>20)
	}
}
