// The gate compares two files of benchmark results by one metric, the ratio to
// the limit, and fails if the second is worse beyond noise:
//
//	go run ./bench/gate [-tolerance 0.03] OLD NEW
//
// Both must come from one session on one machine, alternating (compare.sh does
// that). Then neither the machine nor its neighbors matter, and no recorded number
// has to hold elsewhere: the old revision is the baseline.
//
// A benchmark fails if its median ratio has dropped by more than the tolerance,
// and the drop is significant: by the exact one-sided test of Mann and Whitney,
// at a level of 0.01 for all benchmarks together (each is tested at 0.01 divided
// by their number). So an unchanged program fails in less than one of a hundred
// sessions. A missing benchmark also fails. Exit codes: 0 passed, 1 failed, 2 no
// verdict.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/vaultpack/vaultpack/bench/internal/results"
	"github.com/vaultpack/vaultpack/bench/internal/stats"
)

const level = 0.01 // of all tests together

func main() {
	tolerance := flag.Float64("tolerance", 0.03, "the part of the ratio that may be lost")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: gate [-tolerance 0.03] OLD NEW")
		os.Exit(2)
	}
	old, err := read(flag.Arg(0))
	if err == nil {
		var now *results.File
		if now, err = read(flag.Arg(1)); err == nil {
			err = gate(os.Stdout, old, now, *tolerance)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-gate:", err)
		if errors.Is(err, errWorse) {
			os.Exit(1)
		}
		os.Exit(2)
	}
}

func read(name string) (*results.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return results.Parse(f)
}

var errWorse = errors.New("slower, measured by the limit, than the old revision")

// gate writes a line for each benchmark, and returns an error that wraps errWorse
// if any is worse, another if the files do not allow a verdict.
func gate(w io.Writer, old, now *results.File, tolerance float64) error {
	names := old.Names("ratio")
	if len(names) == 0 {
		return errors.New("the old results have no ratio")
	}
	each := level / float64(len(names))
	worse := 0
	for _, name := range names {
		a, b := old.Samples(name, "ratio"), now.Samples(name, "ratio")
		if len(b) == 0 {
			fmt.Fprintf(w, "GONE    %s\n", name)
			worse++
			continue
		}
		if least := stats.ProbabilityLower(aboveAll(len(a)), make([]float64, len(b))); least >= each {
			return fmt.Errorf("%s: %d and %d runs are too few to tell a regression from noise", name, len(a), len(b))
		}
		before, after := stats.Median(a), stats.Median(b)
		p := stats.ProbabilityLower(a, b)
		verdict := "ok"
		if after < before*(1-tolerance) && p < each {
			verdict = "WORSE"
			worse++
		}
		fmt.Fprintf(w, "%-7s %-50s %.3f -> %.3f  %+.1f%%  p=%.4f\n", verdict, name, before, after, 100*(after/before-1), p)
	}
	for _, name := range now.Names("ratio") {
		if !slices.Contains(names, name) {
			fmt.Fprintf(w, "new     %s\n", name)
		}
	}
	if worse > 0 {
		return fmt.Errorf("%d of %d benchmarks: %w", worse, len(names), errWorse)
	}
	return nil
}

// aboveAll returns n samples above 0.
func aboveAll(n int) []float64 { return slices.Repeat([]float64{1}, n) }
