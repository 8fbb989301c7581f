package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// A ledger holds, by package and test, the outcome of each test in all runs so far.
type ledger map[string]map[string]*account

// An account is the outcome of one test or subtest.
type account struct {
	Ran    bool   `json:"ran"`              // and passed in some run
	Reason string `json:"reason,omitempty"` // why it was skipped the last time
}

// readLedger reads the file; a missing file is an empty ledger.
func readLedger(file string) (ledger, error) {
	book := ledger{}
	if file == "" {
		return book, nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return book, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &book); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return book, nil
}

func (l ledger) write(file string) error {
	if file == "" {
		return nil
	}
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// add adds the results of a run. A test passes even if one of its subtests was
// skipped, so each subtest has its own account.
func (l ledger) add(r *report) {
	for _, res := range r.results {
		if l[res.pkg] == nil {
			l[res.pkg] = map[string]*account{}
		}
		a := l[res.pkg][res.name]
		if a == nil {
			a = &account{}
			l[res.pkg][res.name] = a
		}
		if res.out {
			a.Reason = res.reason
		} else {
			a.Ran = true
		}
	}
}

// rest returns the arguments for go test, including those given, to run what no run
// ran: for each package one list of whole tests, and one for each test with subtests
// left.
func (l ledger) rest(args []string) (runs [][]string) {
	for _, pkg := range slices.Sorted(maps.Keys(l)) {
		tests := map[string]bool{}
		parts := map[string]map[string]bool{} // by test
		for name, a := range l[pkg] {
			if a.Ran {
				continue
			}
			top, part, isPart := strings.Cut(name, "/")
			if whole := l[pkg][top]; !isPart || whole == nil || !whole.Ran {
				tests[top] = true
				continue
			}
			if parts[top] == nil {
				parts[top] = map[string]bool{}
			}
			part, _, _ = strings.Cut(part, "/")
			parts[top][part] = true
		}
		add := func(pattern string) { runs = append(runs, append(slices.Clone(args), "-run", pattern, pkg)) }
		if len(tests) > 0 {
			add(anyOf(tests))
		}
		for _, top := range slices.Sorted(maps.Keys(parts)) {
			if !tests[top] {
				add("^" + top + "$/" + anyOf(parts[top]))
			}
		}
	}
	return runs
}

// anyOf returns a pattern that matches the names.
func anyOf(names map[string]bool) string {
	var quoted []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		quoted = append(quoted, regexp.QuoteMeta(name))
	}
	return "^(" + strings.Join(quoted, "|") + ")$"
}

// left returns the tests that no run ran, except those skipped for an allowed reason.
func (l ledger) left(allow *regexp.Regexp) (left []string) {
	for _, pkg := range slices.Sorted(maps.Keys(l)) {
		for _, name := range slices.Sorted(maps.Keys(l[pkg])) {
			if a := l[pkg][name]; !a.Ran && !allow.MatchString(a.Reason) {
				left = append(left, fmt.Sprintf("%s.%s (%s)", short(pkg), name, a.Reason))
			}
		}
	}
	return left
}

// total returns how many tests ran in some run, and how many in none.
func (l ledger) total() string {
	ran, left := 0, 0
	for _, tests := range l {
		for _, a := range tests {
			if a.Ran {
				ran++
			} else {
				left++
			}
		}
	}
	return fmt.Sprintf("%d tests ran in %d packages, %d were left out", ran, len(l), left)
}
