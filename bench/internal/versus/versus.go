// Package versus is a form of benchmark for machines that are never quiet. It
// runs the code under test and what it is compared with in turns, a few
// milliseconds each, and takes the ratio of each turn: a neighbour, a changing
// clock or a page cache meets both sides alike, and the median over all turns
// forgets the rest.
package versus

import (
	"runtime"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/bench/internal/stats"
)

// LimitName is the side whose comparison is reported as "ratio".
const LimitName = "limit"

// A Side is one of those that run in turns. Run does n operations.
type Side struct {
	Name string
	Run  func(n int) error
}

// turn is how long the subject runs before the others do. It is much longer
// than starting and stopping the timer takes, and short against what disturbs a
// machine.
const turn = 4 * time.Millisecond

// Run benchmarks the subject, each operation on size bytes, and runs the others
// as often, in turns with it. The figures of package testing (ns/op, MB/s, B/op,
// allocs/op) are those of the subject alone. Further metrics are, for each of
// the others,
//
//	NAME-MB/s  its mean speed
//	ratio      for the side named "limit": the subject's speed over its speed
//	NAME-x     for any other: its speed over the subject's
//
// where the last two are medians over all turns.
func Run(b *testing.B, size int, subject func(n int) error, others ...Side) {
	b.Helper()
	inTurns(b, size, func(func(int) error, int) error { return nil }, subject, others)
}

// RunSettled is Run for sides that leave much garbage. Before each turn, not
// timed, what the one before left is collected, and unless an operation fills a
// turn by itself, one more of them fills caches and pools again. The garbage
// collector's work during a turn still counts.
func RunSettled(b *testing.B, size int, subject func(n int) error, others ...Side) {
	b.Helper()
	inTurns(b, size, func(next func(int) error, n int) error {
		runtime.GC()
		if n == 1 {
			return nil
		}
		return next(1)
	}, subject, others)
}

// inTurns calls before, not timed, before each turn of n operations.
func inTurns(b *testing.B, size int, before func(next func(int) error, n int) error, subject func(n int) error, others []Side) {
	b.Helper()
	b.ReportAllocs()
	b.SetBytes(int64(size))
	b.StopTimer()

	all := append([]Side{{"the subject", subject}}, others...)
	spent := make([][]time.Duration, len(all)) // by side, by turn
	run := func(s, n int) {
		if err := before(all[s].Run, n); err != nil {
			b.Fatalf("%s: %v", all[s].Name, err)
		}
		if s == 0 {
			b.StartTimer()
		}
		start := time.Now()
		err := all[s].Run(n)
		took := time.Since(start)
		if s == 0 {
			b.StopTimer()
		}
		if err != nil {
			b.Fatalf("%s: %v", all[s].Name, err)
		}
		spent[s] = append(spent[s], max(took, 1))
	}

	batch := batchSize(b, subject)
	for done, round := 0, 0; done < b.N; round++ {
		n := min(batch, b.N-done)
		done += n
		for i := range all {
			run((i+round)%len(all), n) // nobody always goes first
		}
	}

	for s, side := range all[1:] {
		times := spent[s+1]
		var total time.Duration
		ratios := make([]float64, len(times))
		for k, took := range times {
			total += took
			ratios[k] = took.Seconds() / spent[0][k].Seconds()
		}
		b.ReportMetric(float64(size)*float64(b.N)/1e6/total.Seconds(), side.Name+"-MB/s")
		if side.Name == LimitName {
			b.ReportMetric(stats.Median(ratios), "ratio")
		} else {
			b.ReportMetric(1/stats.Median(ratios), side.Name+"-x")
		}
	}
}

// batchSize finds how many operations fill a turn. It is the warm-up, too.
func batchSize(b *testing.B, f func(n int) error) int {
	for n := 1; ; n *= 4 {
		start := time.Now()
		if err := f(n); err != nil {
			b.Fatal(err)
		}
		if took := time.Since(start); took >= turn/4 || n >= b.N {
			return max(1, int(turn*time.Duration(n)/max(took, 1)))
		}
	}
}
