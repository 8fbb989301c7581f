package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// An event is a line of the output of go test -json; see go doc test2json.
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

// A result is the result of one test or subtest.
type result struct {
	pkg, name string
	reason    string // of a test that was skipped
	out       bool
}

// A report collects the events of go test, and prints for each package what go test
// does. It prints the output of a test only if it fails.
type report struct {
	w              io.Writer
	passed, failed int
	packages       int
	results        []result
	output         map[[2]string][]string // by package and test, until it has passed
	inPackage      map[string]int         // skipped tests
	crashed        []string               // packages ended by a crash of the race detector
	broken         bool                   // another package failed
}

func newReport(w io.Writer) *report {
	return &report{w: w, output: map[[2]string][]string{}, inPackage: map[string]int{}}
}

// read adds the events of a stream. It prints anything that is not an event, such
// as a message about a wrong flag.
func (r *report) read(stream io.Reader) error {
	s := bufio.NewScanner(stream)
	s.Buffer(nil, 64<<20)
	for s.Scan() {
		var e event
		if json.Unmarshal(s.Bytes(), &e) != nil || e.Action == "" {
			fmt.Fprintln(r.w, s.Text())
			continue
		}
		r.add(e)
	}
	return s.Err()
}

func (r *report) add(e event) {
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		io.WriteString(r.w, e.Output)
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass", "skip":
		if e.Test == "" {
			r.endPackage(e)
			return
		}
		res := result{pkg: e.Package, name: e.Test}
		if e.Action == "skip" {
			res.out, res.reason = true, reason(r.output[key])
			r.inPackage[e.Package]++
		} else {
			r.passed++
		}
		r.results = append(r.results, res)
		delete(r.output, key)
	case "fail":
		if e.Test == "" {
			r.endPackage(e)
			return
		}
		r.failed++
	}
}

// endPackage prints the line of a package, after the output of its failed tests.
func (r *report) endPackage(e event) {
	if e.Action == "skip" { // it has no tests
		r.forget(e.Package)
		return
	}
	r.packages++
	if e.Action == "fail" {
		if r.detectorCrashed(e.Package) {
			r.crashed = append(r.crashed, e.Package)
		} else {
			r.broken = true
		}
		for _, key := range slices.SortedFunc(maps.Keys(r.output), compareKeys) {
			if key[0] == e.Package {
				for _, text := range r.output[key] {
					if key[1] != "" || !strings.HasPrefix(text, "FAIL") {
						io.WriteString(r.w, text)
					}
				}
			}
		}
	}
	note := ""
	if n := r.inPackage[e.Package]; n > 0 {
		note = fmt.Sprintf("\t%d left out", n)
	}
	word := map[string]string{"pass": "ok  ", "fail": "FAIL"}[e.Action]
	fmt.Fprintf(r.w, "%s\t%s\t%.1fs%s\n", word, e.Package, e.Elapsed, note)
	r.forget(e.Package)
}

// detectorCrashed reports whether a package ended by a signal outside of Go code, with
// no word of a test, a panic or a race before it. The tests have no C code other than
// the race detector's, which crashes on its own now and then (go.dev/issue/78059).
func (r *report) detectorCrashed(pkg string) bool {
	signal := false
	for key, lines := range r.output {
		if key[0] != pkg {
			continue
		}
		for _, line := range lines {
			if foreign.MatchString(line) {
				return false
			}
			signal = signal || strings.HasPrefix(line, "SIGSEGV: segmentation violation")
		}
	}
	return signal
}

// foreign matches a line of a failure that has another cause.
var foreign = regexp.MustCompile(`^\s*(--- FAIL|panic:|fatal error:|WARNING: DATA RACE|unexpected fault address)`)

func (r *report) forget(pkg string) {
	maps.DeleteFunc(r.output, func(key [2]string, _ []string) bool { return key[0] == pkg })
}

func compareKeys(a, b [2]string) int { return slices.Compare(a[:], b[:]) }

// summary says what was skipped, by reason, and how much ran.
func (r *report) summary() {
	why := map[string][]string{}
	left := 0
	for _, res := range r.results {
		if res.out {
			left++
			why[res.reason] = append(why[res.reason], short(res.pkg)+"."+res.name)
		}
	}
	if left > 0 {
		fmt.Fprintf(r.w, "\nLEFT OUT, %d tests:\n", left)
	}
	for _, reason := range slices.Sorted(maps.Keys(why)) {
		fmt.Fprintf(r.w, "  %s\n", reason)
		for _, name := range why[reason] {
			fmt.Fprintf(r.w, "    %s\n", name)
		}
	}
	fmt.Fprintf(r.w, "%d tests ran in %d packages, %d of them failed; %d were left out\n", r.passed+r.failed, r.packages, r.failed, left)
}

var logged = regexp.MustCompile(`^\s+\S+\.go:\d+: (.+)`)

// reason returns the last message of a test before it was skipped.
func reason(output []string) string {
	why := "no reason given"
	for _, line := range output {
		if m := logged.FindStringSubmatch(line); m != nil {
			why = strings.TrimSpace(m[1])
		}
	}
	return why
}

// short returns a package's path without the module's.
func short(pkg string) string {
	if _, rest, ok := strings.Cut(pkg, "/vaultpack/vaultpack/"); ok {
		return rest
	}
	return pkg
}
