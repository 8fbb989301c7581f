// Plot draws recorded benchmark results as an SVG, and writes them as tables
// between two marks in a Markdown file:
//
//	go run ./bench/plot -svg docs/benchmarks.svg -doc docs/BENCHMARKS.md RESULTS
//
// RESULTS is the output of record.sh. The output depends on nothing else.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/vaultpack/vaultpack/bench/internal/results"
)

func main() {
	svg := flag.String("svg", "", "the SVG to write")
	doc := flag.String("doc", "", "the Markdown file to change")
	flag.Parse()
	if flag.NArg() != 1 || *svg == "" || *doc == "" {
		fmt.Fprintln(os.Stderr, "usage: plot -svg FILE -doc FILE RESULTS")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *svg, *doc); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(name, svg, doc string) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := results.Parse(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	old, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	now, err := replaceBetween(old, tables(f))
	if err != nil {
		return fmt.Errorf("%s: %w", doc, err)
	}
	if err := os.WriteFile(doc, now, 0o644); err != nil {
		return err
	}
	return os.WriteFile(svg, draw(f), 0o644)
}

// The marks in the Markdown file. The text between them is replaced.
const (
	beginMark = "<!-- results: begin -->\n"
	endMark   = "<!-- results: end -->\n"
)

func replaceBetween(doc, body []byte) ([]byte, error) {
	head, rest, ok := bytes.Cut(doc, []byte(beginMark))
	_, tail, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return nil, errors.New("the marks for the results are missing")
	}
	return bytes.Join([][]byte{head, []byte(beginMark), body, []byte(endMark), tail}, nil), nil
}
