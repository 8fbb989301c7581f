package bench

import (
	"math"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
)

// What a segment may cost beyond the bytes themselves, however many chunks it
// has. One allocation for each of its 64 chunks, or one fresh buffer of a
// megabyte, would be more.
const (
	allocsPerSegment = 40
	bytesPerSegment  = 16 << 10
)

func TestAllocationsPerSegment(t *testing.T) {
	const few, many = 8, 40
	for _, c := range []struct {
		name string
		op   func(segments, workers int) error
	}{
		{"seal", func(n, workers int) error {
			return seal(new(dropped), plainArena.Bytes(n*envelope.SegmentSize), writeAll, workers)
		}},
		{"open", func(n, workers int) error {
			return open(sealed(t, n*envelope.SegmentSize), n*envelope.SegmentSize, readPieces, workers)
		}},
	} {
		for _, workers := range []int{1, 2} {
			measure := func(segments int) (allocs, bytes int64) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if err := c.op(segments, workers); err != nil {
					t.Fatal(err)
				}
				runtime.ReadMemStats(&after)
				return int64(after.Mallocs - before.Mallocs), int64(after.TotalAlloc - before.TotalAlloc)
			}
			// A collection in between would empty the pools, and how many buffers
			// are out at once is chance: so there is none, and the least of some
			// tries counts.
			percent := debug.SetGCPercent(-1)
			allocs, bytes := int64(math.MaxInt64), int64(math.MaxInt64)
			for range 5 {
				fewAllocs, fewBytes := measure(few)
				moreAllocs, moreBytes := measure(many)
				allocs = min(allocs, (moreAllocs-fewAllocs)/(many-few))
				bytes = min(bytes, (moreBytes-fewBytes)/(many-few))
			}
			debug.SetGCPercent(percent)
			t.Logf("%s with %d workers: %d allocations and %d bytes for each segment", c.name, workers, allocs, bytes)
			if allocs > allocsPerSegment || bytes > bytesPerSegment {
				t.Errorf("%s with %d workers: %d allocations and %d bytes for each segment, want at most %d and %d",
					c.name, workers, allocs, bytes, allocsPerSegment, bytesPerSegment)
			}
		}
	}
}
