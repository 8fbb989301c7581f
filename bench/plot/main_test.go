package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/bench/internal/results"
)

func recorded(t *testing.T) *results.File {
	t.Helper()
	files, err := filepath.Glob("../results/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded results (%v)", err)
	}
	in, err := os.Open(files[len(files)-1]) // sorted by name, which is the date
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	f, err := results.Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The names in the tables must be those of the benchmarks, or a cell is empty.
func TestTablesHaveEveryCell(t *testing.T) {
	for line := range strings.Lines(string(tables(recorded(t)))) {
		if strings.Contains(line, "–") {
			t.Errorf("no figure in %s", line)
		}
	}
}

// The document and the plot that are committed must come from the results.
func TestCommittedFilesAreCurrent(t *testing.T) {
	f := recorded(t)
	doc, err := os.ReadFile("../../docs/BENCHMARKS.md")
	if err != nil {
		t.Fatal(err)
	}
	if want, err := replaceBetween(doc, tables(f)); err != nil || !bytes.Equal(doc, want) {
		t.Errorf("docs/BENCHMARKS.md does not show the last results (%v): run bench/plot", err)
	}
	svg, err := os.ReadFile("../../docs/benchmarks.svg")
	if err != nil || !bytes.Equal(svg, draw(f)) {
		t.Errorf("docs/benchmarks.svg does not show the last results (%v): run bench/plot", err)
	}
}

func TestDrawIsXML(t *testing.T) {
	d := xml.NewDecoder(bytes.NewReader(draw(&results.File{Config: map[string]string{"cpu-model": "A<B & C"}})))
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplaceBetween(t *testing.T) {
	doc := []byte("head\n" + beginMark + "old\n" + endMark + "tail\n")
	got, err := replaceBetween(doc, []byte("new\n"))
	if want := "head\n" + beginMark + "new\n" + endMark + "tail\n"; string(got) != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", beginMark, endMark + beginMark} {
		if _, err := replaceBetween([]byte(bad), nil); err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}
