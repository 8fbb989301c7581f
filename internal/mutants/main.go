// Command mutants shows that the tests would notice if one of the code's promises
// were broken: it breaks them one at a time, in a copy that the go command lays over
// the source (-overlay), and expects a test to fail.
//
//	go run ./internal/mutants [-run TEXT] [-unseen] [-sample N [-seed N]] [-check]
//
// It exits with 1 if a mutant survives or does not compile, or if the tests fail
// without any. A mutant whose text is no longer in the source exactly once fails
// every run, whichever mutants were chosen.
package main

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

func main() {
	only := flag.String("run", "", "run only the mutants with this text in their names, which start with the package's")
	sample := flag.Int("sample", 0, "run only so `many`, drawn by chance, and trust that the tests pass without any")
	seed := flag.Uint64("seed", 0, "the sample to draw; by default one for each commit and day")
	unseen := flag.Bool("unseen", false, "run only those that nobody has yet seen killed, and trust that the tests pass without any")
	check := flag.Bool("check", false, "run nothing, only look whether each mutant is still in the source")
	flag.Parse()
	if err := stale(all); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	chosen := choose(*only)
	if *check {
		fmt.Printf("each of %d mutants is in the source once\n", len(chosen))
		return
	}
	if *unseen {
		chosen = slices.DeleteFunc(chosen, func(c trial) bool { return seen[c.mutant.name] })
	}
	if *sample > 0 {
		if *seed == 0 {
			*seed = today()
		}
		chosen = slices.DeleteFunc(chosen, func(c trial) bool { return !seen[c.mutant.name] })
		fmt.Printf("a sample of %d of the %d mutants that were killed before: -sample %d -seed %d\n", *sample, len(chosen), *sample, *seed)
		r := rand.New(rand.NewPCG(*seed, 0))
		r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:min(*sample, len(chosen))]
	} else if !*unseen && !pass(chosen) {
		os.Exit(1)
	}
	if !kill(chosen) {
		os.Exit(1)
	}
}

// today returns a number that changes with the commit and with the day.
func today() uint64 {
	commit, _ := exec.Command("git", "rev-parse", "HEAD").Output() // the day alone is enough
	h := fnv.New64a()
	fmt.Fprintf(h, "%s%s", commit, time.Now().UTC().Format(time.DateOnly))
	return h.Sum64()
}

// A trial is a mutant with the tests that should kill it.
type trial struct {
	target *target
	mutant *mutant
}

func (c trial) String() string { return c.target.name + ": " + c.mutant.name }

func choose(text string) (chosen []trial) {
	for _, t := range all {
		for i := range t.mutants {
			if one := (trial{t, &t.mutants[i]}); strings.Contains(one.String(), text) {
				chosen = append(chosen, one)
			}
		}
	}
	return chosen
}

// pass reports whether the tests of the chosen targets pass without any mutant.
func pass(chosen []trial) bool {
	done := map[*target]bool{}
	for _, c := range chosen {
		if done[c.target] {
			continue
		}
		done[c.target] = true
		start := time.Now()
		if result, output := c.target.test("", mutant{run: c.target.run}); result != "survived" {
			fmt.Fprintf(os.Stderr, "%s: without a mutant the tests end in %q\n%s", c.target.name, result, output)
			return false
		}
		fmt.Printf("%s: without a mutant the tests pass (%.0fs)\n", c.target.name, time.Since(start).Seconds())
	}
	return true
}

// kill tries the mutants and reports whether each was killed.
func kill(chosen []trial) bool {
	start := time.Now()
	results := make([]string, len(chosen))
	var wg sync.WaitGroup
	turn := make(chan struct{}, 2) // more of them only slow each other down
	for i, c := range chosen {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			began := time.Now()
			results[i] = c.try()
			fmt.Fprintf(os.Stderr, "%4.0fs %4.0fs  %s: %s\n", time.Since(start).Seconds(), time.Since(began).Seconds(), c, results[i])
		})
	}
	wg.Wait()
	killed := 0
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	for i, c := range chosen {
		fmt.Fprintf(table, "%s\t%s\n", c, results[i])
		if strings.HasPrefix(results[i], "killed") {
			killed++
		}
	}
	table.Flush()
	fmt.Printf("%d of %d mutants killed in %.0fs\n", killed, len(chosen), time.Since(start).Seconds())
	return killed == len(chosen) && killed > 0
}
