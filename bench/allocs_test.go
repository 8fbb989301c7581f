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

// What a file of one short segment may cost, with a data key at hand. A buffer or a
// hash of its own for each would be more.
const (
	allocsToSeal = 8
	allocsToOpen = 10
)

func TestAllocationsOfASmallFile(t *testing.T) {
	race.Skip(t, "the race detector allocates, too")
	plain := plainArena.Bytes(1 << 10)
	var file bytes.Buffer
	if err := seal(&file, plain, writeAll, 1); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		limit float64
		op    func() error
	}{
		"seal": {allocsToSeal, func() error { return seal(new(dropped), plain, writeAll, 1) }},
		"open": {allocsToOpen, func() error { return open(bytes.NewReader(file.Bytes()), len(plain), readPieces, 1) }},
	} {
		got := testing.AllocsPerRun(200, func() {
			if err := c.op(); err != nil {
				t.Error(err)
			}
		})
		t.Logf("%s: %v allocations", name, got)
		if got > c.limit {
			t.Errorf("%s allocates %v times for 1 KiB, want at most %v", name, got, c.limit)
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
