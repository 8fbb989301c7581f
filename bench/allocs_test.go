package bench

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/vaultpack/vaultpack/bench/internal/stats"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/race"
)

// What a segment may cost beyond the bytes themselves, however many chunks it
// has. One allocation for each of its 64 chunks, or one fresh buffer of a
// megabyte, would be more.
const (
	allocsPerSegment = 40
	bytesPerSegment  = 16 << 10
)

func TestAllocationsPerSegment(t *testing.T) {
	race.Skip(t, "the race detector allocates, too")
	const few, many = 8, 40
	plain := plainArena.Bytes(many * envelope.SegmentSize)
	var sealedFew, sealedMany bytes.Buffer
	for n, dst := range map[int]*bytes.Buffer{few: &sealedFew, many: &sealedMany} {
		if err := seal(dst, plain[:n*envelope.SegmentSize], writeAll, 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, workers := range []int{1, 2} {
		sealOp := func(segments int) func() error {
			return func() error { return seal(new(dropped), plain[:segments*envelope.SegmentSize], writeAll, workers) }
		}
		openOp := func(segments int, in []byte) func() error {
			return func() error { return open(piped(in), segments*envelope.SegmentSize, readPieces, workers) }
		}
		for _, c := range []struct {
			name      string
			few, many func() error
		}{
			{"seal", sealOp(few), sealOp(many)},
			{"open", openOp(few, sealedFew.Bytes()), openOp(many, sealedMany.Bytes())},
		} {
			// A collection in between would empty the pools, and how many
			// buffers are out at once is chance: so there is none, and the
			// median of some tries counts.
			percent := debug.SetGCPercent(-1)
			var allocs, size []float64
			for range 7 {
				fewAllocs, fewSize := measureAllocs(t, c.few)
				manyAllocs, manySize := measureAllocs(t, c.many)
				allocs = append(allocs, (manyAllocs-fewAllocs)/(many-few))
				size = append(size, (manySize-fewSize)/(many-few))
			}
			debug.SetGCPercent(percent)
			gotAllocs, gotSize := stats.Median(allocs), stats.Median(size)
			t.Logf("%s with %d workers: %.1f allocations and %.0f bytes for each segment", c.name, workers, gotAllocs, gotSize)
			if gotAllocs > allocsPerSegment || gotSize > bytesPerSegment {
				t.Errorf("%s with %d workers: %.1f allocations and %.0f bytes for each segment, want at most %d and %d",
					c.name, workers, gotAllocs, gotSize, allocsPerSegment, bytesPerSegment)
			}
		}
	}
}

func measureAllocs(t *testing.T, op func() error) (allocs, size float64) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := op(); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs - before.Mallocs), float64(after.TotalAlloc - before.TotalAlloc)
}
