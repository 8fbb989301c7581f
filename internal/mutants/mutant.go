package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A target is a part of the code, with the tests that must notice its mutants.
type target struct {
	name string
	// pkgs are the packages with these tests, as for go test.
	pkgs []string
	// run selects the tests to run first, since they kill most mutants, and skip
	// the tests to leave out of the rest. Either may be empty.
	run, skip string
	mutants   []mutant
}

// A mutant is a set of changes to the source, each of a text that occurs once.
type mutant struct {
	name  string
	edits []edit
	// run selects the tests to run first, instead of the target's, and pkg their
	// package, if it is not the target's first.
	run, pkg string
}

type edit struct{ file, old, new string }

// all holds mistakes that somebody could plausibly make, now or later.
var all = []*target{&ofEnvelope, &ofDataset, &ofRestore, &ofVault, &ofUploader, &ofIngest, &ofContainer, &ofProvenance, &ofSigners}

func one(name, file, old, new string) mutant {
	return mutant{name: name, edits: []edit{{file, old, new}}}
}

// by names the tests that should notice the mutant.
func (m mutant) by(run string) mutant {
	m.run = "^(" + run + ")$"
	return m
}

// in names the package of these tests.
func (m mutant) in(pkg string) mutant {
	m.pkg = pkg
	return m
}

// A mutant that loops forever is caught, and so killed, by testTimeout.
// buildTimeout includes compiling: exceeding it proves nothing.
const (
	testTimeout  = 5 * time.Minute
	buildTimeout = 20 * time.Minute
)

// stale reports every mutant whose text is not in the source exactly once, and
// names that occur twice.
func stale(targets []*target) error {
	var errs []error
	for _, t := range targets {
		names := map[string]bool{}
		for _, m := range t.mutants {
			if names[m.name] {
				errs = append(errs, fmt.Errorf("%s: %s: two mutants have this name", t.name, m.name))
			}
			names[m.name] = true
			if _, err := m.source(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %s: %w", t.name, m.name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// source returns the mutant's files by name.
func (m mutant) source() (map[string]string, error) {
	source := map[string]string{}
	for _, e := range m.edits {
		if source[e.file] == "" {
			b, err := os.ReadFile(e.file)
			if err != nil {
				return nil, fmt.Errorf("STALE: %w", err)
			}
			source[e.file] = string(b)
		}
		if n := strings.Count(source[e.file], e.old); n != 1 {
			return nil, fmt.Errorf("STALE: %q is %d times in %s", e.old, n, e.file)
		}
		source[e.file] = strings.Replace(source[e.file], e.old, e.new, 1)
	}
	return source, nil
}

// try makes the mutant, runs the tests on it, and reports the result.
func (c trial) try() string {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(dir)
	source, err := c.mutant.source()
	if err != nil {
		return err.Error()
	}
	replace := map[string]string{}
	for file, text := range source {
		from, err := filepath.Abs(file)
		if err != nil {
			return err.Error()
		}
		to := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return err.Error()
		}
		replace[from] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err.Error()
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		return err.Error()
	}
	first := *c.mutant
	if first.run == "" {
		first.run = c.target.run
	}
	result, _ := c.target.test(overlay, first)
	return result
}

// test runs the tests that come first, then the others, until one fails. The first
// are all in one package, so that only one program is linked.
func (t *target) test(overlay string, first mutant) (result, output string) {
	var stages [][]string
	if first.run != "" {
		pkg := first.pkg
		if pkg == "" {
			pkg = t.pkgs[0]
		}
		stages = append(stages, []string{"-run", first.run, pkg})
	}
	rest := t.pkgs
	if t.skip != "" {
		rest = append([]string{"-skip", t.skip}, rest...)
	}
	for _, stage := range append(stages, rest) {
		if result, output := t.stage(overlay, stage); result != "" {
			return result, output
		}
	}
	return "survived", ""
}

// stage runs go test once. It returns "" if the tests pass.
func (t *target) stage(overlay string, choice []string) (result, output string) {
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	args := []string{"test", "-short", "-failfast", "-vet=off", "-count=1", "-ldflags=-s -w", "-timeout=" + testTimeout.String(), "-overlay=" + overlay}
	cmd := exec.CommandContext(ctx, "go", append(args, choice...)...)
	// The tests' child processes end with go test.
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	switch {
	case err == nil:
		return "", ""
	case ctx.Err() != nil:
		return "TOOK TOO LONG, which proves nothing", out.String()
	case bytes.Contains(out.Bytes(), []byte("[build failed]")), bytes.Contains(out.Bytes(), []byte("[setup failed]")):
		return "DOES NOT COMPILE: " + firstLine(out.String(), ".go:"), out.String()
	}
	return "killed by " + killer(out.String()), out.String()
}

// killer returns the first test that failed.
func killer(output string) string {
	line := firstLine(output, "--- FAIL: ")
	if line == "" {
		return firstLine(output, "panic")
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(line, "--- FAIL: "), " ")
	return name
}

func firstLine(text, with string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, with) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
