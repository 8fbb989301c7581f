// Command mutants shows that the tests of package envelope would notice if one
// of its promises were broken: it breaks them one at a time, in a copy that the
// go command lays over the source (-overlay), and expects a test to fail.
//
//	go run ./internal/mutants [-run TEXT]
//
// It exits with 1 if a mutant survives, does not compile, or is no longer in
// the source, and if the tests fail without any.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// A mutant is a set of changes to the source, each of a text that occurs once.
type mutant struct {
	name  string
	edits []edit
}

type edit struct{ file, old, new string }

// What kills most mutants comes first.
var stages = [][]string{
	{"-run", "^(TestTestkit|TestVectors|TestSizes|TestSaltsDiffer|TestOpenClearsOnFailure)$"},
	{"-skip", "^(TestTestkit|TestVectors|Fuzz.*)$"},
}

// timeout is for one stage. A mutant that loops for ever is found out by it, and
// counts as killed.
const timeout = 3 * time.Minute

func main() {
	only := flag.String("run", "", "run only the mutants with this text in their names")
	flag.Parse()
	start := time.Now()
	if result, output := test(""); result != "survived" {
		fmt.Fprintf(os.Stderr, "without a mutant the tests end in %q\n%s", result, output)
		os.Exit(1)
	}
	fmt.Printf("without a mutant the tests pass (%.0fs)\n", time.Since(start).Seconds())

	var chosen []mutant
	for _, m := range mutants {
		if strings.Contains(m.name, *only) {
			chosen = append(chosen, m)
		}
	}
	results := make([]string, len(chosen))
	var wg sync.WaitGroup
	turn := make(chan struct{}, 2) // more of them only slow each other
	for i, m := range chosen {
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			results[i] = try(m)
			fmt.Fprintf(os.Stderr, "%4.0fs  %s: %s\n", time.Since(start).Seconds(), m.name, results[i])
		})
	}
	wg.Wait()
	killed := 0
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	for i, m := range chosen {
		fmt.Fprintf(table, "%s\t%s\n", m.name, results[i])
		if strings.HasPrefix(results[i], "killed") {
			killed++
		}
	}
	table.Flush()
	fmt.Printf("%d of %d mutants killed in %.0fs\n", killed, len(chosen), time.Since(start).Seconds())
	if killed < len(chosen) || killed == 0 {
		os.Exit(1)
	}
}

// try makes the mutant and runs the tests over it.
func try(m mutant) string {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(dir)
	replace := map[string]string{}
	source := map[string]string{}
	for _, e := range m.edits {
		if source[e.file] == "" {
			b, err := os.ReadFile(e.file)
			if err != nil {
				return err.Error()
			}
			source[e.file] = string(b)
		}
		if n := strings.Count(source[e.file], e.old); n != 1 {
			return fmt.Sprintf("STALE: %q is %d times in %s", e.old, n, e.file)
		}
		source[e.file] = strings.Replace(source[e.file], e.old, e.new, 1)
	}
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
	overlay := filepath.Join(dir, "overlay.json")
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err.Error()
	}
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		return err.Error()
	}
	result, _ := test(overlay)
	return result
}

// test runs the stages until one fails, and tells what became of a mutant.
func test(overlay string) (result, output string) {
	for _, stage := range stages {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		args := append([]string{"test", "-short", "-failfast", "-vet=off", "-count=1", "-overlay=" + overlay}, stage...)
		cmd := exec.CommandContext(ctx, "go", append(args, "./envelope/...")...)
		// The tests' own processes end with go test.
		cmd.WaitDelay = 10 * time.Second
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return "killed by the clock", out.String()
		case bytes.Contains(out.Bytes(), []byte("[build failed]")), bytes.Contains(out.Bytes(), []byte("[setup failed]")):
			return "DOES NOT COMPILE: " + firstLine(out.String(), ".go:"), out.String()
		}
		return "killed by " + killer(out.String()), out.String()
	}
	return "survived", ""
}

// killer is the first test that failed.
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
