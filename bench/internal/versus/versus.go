// Package versus is a form of benchmark for noisy machines. It alternates between
// the code under test and what it is compared with, a few milliseconds each, and
// takes the ratio of each turn: a neighbor, a changing clock or a page cache
// affects both sides alike, and the median over all turns removes the rest.
package versus

import (
	"runtime"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/bench/internal/stats"
)

// LimitName is the side whose comparison is reported as "ratio".
const LimitName = "limit"

// A Side is one of the alternating sides. Run does n operations.
type Side struct {
	Name string
	Run  func(n int) error
}

// How long a side runs before the next one: much longer than starting and stopping
// the timer, or settling, takes, and short compared with what disturbs a machine.
const (
	turn        = 4 * time.Millisecond
	settledTurn = 20 * time.Millisecond
)

// Run benchmarks the subject, each operation on size bytes, in turns with the
// others, which get as much time each, but at least one operation. It reports
// ns/op, B/op and allocs/op, which are means of the subject alone, and as
// medians over all turns:
//
//	MB/s       the subject's speed
//	NAME-MB/s  the speed of each of the others
//	ratio      the subject's speed over that of the side named "limit"
//	NAME-x     for any other: its speed over the subject's
func Run(b *testing.B, size int, subject func(n int) error, others ...Side) {
	b.Helper()
	inTurns(b, size, turn, func(func(int) error, int) error { return nil }, subject, others)
}

// RunSettled is like Run, for sides that leave much garbage. Before each turn,
// untimed, it collects the garbage of the previous one and, unless a single
// operation fills a turn, runs one more operation to refill caches and pools. The
// garbage collector's work during a turn still counts.
func RunSettled(b *testing.B, size int, subject func(n int) error, others ...Side) {
	b.Helper()
	inTurns(b, size, settledTurn, func(next func(int) error, n int) error {
		runtime.GC()
		if n == 1 {
			return nil
		}
		return next(1)
	}, subject, others)
}

// inTurns calls before, not timed, before each turn of n operations.
func inTurns(b *testing.B, size int, turn time.Duration, before func(next func(int) error, n int) error, subject func(n int) error, others []Side) {
	b.Helper()
	b.ReportAllocs()
	b.SetBytes(int64(size))
	b.StopTimer()
	b.ResetTimer() // the caller's preparations do not count

	all := append([]Side{{"the subject", subject}}, others...)
	batches := make([]int, len(all))
	for s := range all {
		batches[s] = batchSize(b, all[s], turn)
	}
	perOp := make([][]float64, len(all))  // seconds, by turn
	ratios := make([][]float64, len(all)) // ratio to the subject's, by turn

	run := func(s, n int) {
		if err := before(all[s].Run, n); err != nil {
			b.Fatalf("%s: %v", all[s].Name, err)
		}
		if s == 0 {
			b.StartTimer()
		}
		start := time.Now()
		err := all[s].Run(n)
		took := max(time.Since(start), 1)
		if s == 0 {
			b.StopTimer()
		}
		if err != nil {
			b.Fatalf("%s: %v", all[s].Name, err)
		}
		perOp[s] = append(perOp[s], took.Seconds()/float64(n))
	}
	for done, round := 0, 0; done < b.N; round++ {
		n := min(batches[0], b.N-done)
		done += n
		for i := range all {
			switch s := (i + round) % len(all); s { // nobody always goes first
			case 0:
				run(0, n)
			default:
				run(s, batches[s])
			}
		}
		for s := range all {
			ratios[s] = append(ratios[s], perOp[s][round]/perOp[0][round])
		}
	}

	for s, side := range all {
		speed := float64(size) / 1e6 / stats.Median(perOp[s])
		ratio := stats.Median(ratios[s])
		switch {
		case s == 0:
			b.ReportMetric(speed, "MB/s")
			continue
		case side.Name == LimitName:
			b.ReportMetric(ratio, "ratio")
		default:
			b.ReportMetric(1/ratio, side.Name+"-x")
		}
		b.ReportMetric(speed, side.Name+"-MB/s")
	}
}

// batchSize finds how many operations of a side fill a turn. It also warms up.
func batchSize(b *testing.B, side Side, turn time.Duration) int {
	measure := func(n int) time.Duration {
		start := time.Now()
		if err := side.Run(n); err != nil {
			b.Fatalf("%s: %v", side.Name, err)
		}
		return max(time.Since(start), 1)
	}
	for n := 1; ; n *= 4 {
		took := measure(n)
		if took < turn/4 {
			continue
		}
		// The first time may have been slowed by cold caches, or a neighbor.
		for try := 0; try < 3 && took < 16*turn; try++ {
			took = min(took, measure(n))
		}
		if took >= turn/4 {
			return max(1, int(turn*time.Duration(n)/took))
		}
	}
}
