package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/vaultpack/vaultpack/trainer/metrics"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

// utc has times printed alike everywhere.
func utc(t *testing.T) {
	was := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = was })
}

func series(t testing.TB, name string, values ...float64) metrics.Series {
	t.Helper()
	c, err := metrics.New([]metrics.Definition{{Name: name, Regex: `v=(\S+)`}})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		c.Line(time.Date(2026, 1, 2, 15, 4, 5+10*i, 0, time.UTC), fmt.Sprintf("v=%v", v))
	}
	return c.Series()[0]
}

func example(t testing.TB) *Report {
	seconds := func(n int) *int { return &n }
	begin := time.Date(2026, 1, 2, 15, 4, 0, 0, time.UTC)
	return &Report{Job: "scans-7", Where: SageMaker, Status: "Completed", Created: begin, Started: begin.Add(10 * time.Second), Ended: begin.Add(210 * time.Second),
		TrainedSeconds: seconds(200), BillableSeconds: seconds(80), SpotSavedPercent: seconds(60), Hosts: 2, Instances: []string{"2 of ml.g5.xlarge"},
		Inputs: []Input{{Channel: "training", Dataset: "scans", Version: 3}, {Channel: "plain", Place: "s3://b/p/"}}, Model: "s3://b/out/scans-7/output/model.tar.gz",
		Metrics: []metrics.Series{
			series(t, "accuracy", 0.1, 0.5, 0.7, 0.8, 0.85, 0.9, 0.92, 0.93, 0.935, 0.94),
			series(t, "loss", 2.3, 1.2, math.NaN(), 0.4, 0.3),
			series(t, "final", 7), series(t, "none"),
		}}
}

func TestGolden(t *testing.T) {
	utc(t)
	r := example(t)
	for name, write := range map[string]func(io.Writer) error{
		"report.txt":        func(w io.Writer) error { return r.WriteText(w, Style{}) },
		"report-narrow.txt": func(w io.Writer) error { return r.WriteText(w, Style{Width: 40, ASCII: true}) },
		"report.svg":        r.WriteSVG,
		"report.html":       r.WriteHTML,
		"report.json": func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(r)
		},
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s is not as recorded, which -update changes:\n%s", name, &b)
		}
	}
}

// No line of the plots is wider than the terminal, and an ASCII terminal gets ASCII.
func TestWidth(t *testing.T) {
	for _, width := range []int{40, 80, 120, 300} {
		for _, values := range [][]float64{{1, 2}, {1e-300, 1e300}, {-math.MaxFloat64, math.MaxFloat64}, {5, 5, 5}, {1e300, 1e300}, {-123456.789, 0.000123}} {
			r := &Report{Job: "j", Metrics: []metrics.Series{series(t, "m", values...)}}
			var b strings.Builder
			if err := r.WriteText(&b, Style{Width: width, ASCII: true}); err != nil {
				t.Fatal(err)
			}
			_, plot, _ := strings.Cut(b.String(), "values")
			_, plot, _ = strings.Cut(plot, "\n")
			for line := range strings.Lines(plot) {
				line = strings.TrimRight(line, "\n")
				if utf8.RuneCountInString(line) > width || len(line) != utf8.RuneCountInString(line) {
					t.Errorf("%d columns, %v: %q", width, values, line)
				}
			}
			if !strings.ContainsAny(plot, "|+") {
				t.Errorf("%v: no plot:\n%s", values, &b)
			}
			var svg strings.Builder
			if err := r.WriteSVG(&svg); err != nil || strings.Contains(svg.String(), "NaN") || strings.Contains(svg.String(), "Inf") {
				t.Errorf("%v: %v\n%s", values, err, &svg)
			}
		}
	}
}

// What a job's code may choose is nothing but text in all forms.
func TestHostileText(t *testing.T) {
	evil := "</svg><script>alert(1)</script>\x1b[31m\n&\"'\x00\xff\u202e"
	r := example(t)
	r.Reason, r.Model, r.Inputs[0].Channel, r.Metrics[0].Name, r.Missing = evil, evil, evil, evil, evil
	r.Metrics[0].Last = evil
	for name, write := range map[string]func(io.Writer) error{"svg": r.WriteSVG, "html": r.WriteHTML} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b.Bytes(), []byte("<script")) || bytes.ContainsAny(b.Bytes(), "\x1b\x00") || !utf8.Valid(b.Bytes()) {
			t.Errorf("%s: %q", name, &b)
		}
		if name == "svg" {
			for d := xml.NewDecoder(&b); ; {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var b bytes.Buffer
	if err := r.WriteText(&b, Style{}); err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(b.Bytes(), "\x1b\x00") || bytes.Contains(b.Bytes(), []byte("\n&")) || bytes.Contains(b.Bytes(), []byte("\u202e")) {
		t.Errorf("%q", &b)
	}
}

func TestDir(t *testing.T) {
	d := &Dir{filepath.Join(t.TempDir(), "jobs")}
	r := example(t)
	if _, err := d.Load(r.Job); !errors.Is(err, ErrNone) {
		t.Errorf("before: %v", err)
	}
	for range 2 {
		if err := d.Save(r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.Load(r.Job)
	if err != nil || !reflect.DeepEqual(got.Metrics, r.Metrics) || got.Model != r.Model {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range maxKept + 5 {
		if err := d.Save(&Report{Job: fmt.Sprintf("j-%d", i), Status: "Completed"}); err != nil {
			t.Fatal(err)
		}
	}
	if files, err := os.ReadDir(d.Path); err != nil || len(files) != maxKept {
		t.Errorf("%d files are kept, %v", len(files), err)
	}
	if _, err := d.Load(fmt.Sprintf("j-%d", maxKept+4)); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "..", "../jobs/j-9", "a/b", strings.Repeat("a", 64)} {
		if _, err := d.Load(name); !errors.Is(err, ErrNone) {
			t.Errorf("%q: %v", name, err)
		}
		if err := d.Save(&Report{Job: name}); err == nil {
			t.Errorf("a report of %q is stored", name)
		}
	}
	for _, text := range []string{"", "{", `{"job":"other"}`, `[]`} {
		if err := os.WriteFile(filepath.Join(d.Path, "x.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Load("x"); err == nil || errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func Example() {
	c, err := metrics.New([]metrics.Definition{{Name: "loss", Regex: `loss=(\S+)`}})
	if err != nil {
		panic(err)
	}
	begin := time.Date(2026, 1, 2, 15, 4, 0, 0, time.UTC)
	for i := range 40 {
		c.Line(begin.Add(time.Duration(i)*time.Minute), fmt.Sprintf("loss=%.3f", 2/float64(i+1)))
	}
	r := &Report{Job: "scans-7", Where: SageMaker, Status: "Completed", Metrics: c.Series()}
	for _, m := range r.Metrics {
		fmt.Println(describe(m))
	}
	// Output: loss 0.050, the last of 40 values from 0.05 to 2
}
