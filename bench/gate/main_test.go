package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/bench/internal/results"
)

func parse(t *testing.T, benchmarks map[string][]float64) *results.File {
	t.Helper()
	var text strings.Builder
	for name, ratios := range benchmarks {
		for _, r := range ratios {
			fmt.Fprintf(&text, "Benchmark%s-2 10 100 ns/op %v ratio\n", name, r)
		}
	}
	f, err := results.Parse(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// around are eight samples that scatter by the part s to either side of m.
func around(m, s float64) (v []float64) {
	for i := range 8 {
		v = append(v, m*(1+s*(float64(i)/3.5-1)))
	}
	return v
}

func TestGate(t *testing.T) {
	type runs = map[string][]float64
	for name, c := range map[string]struct {
		old, now runs
		worse    bool
		verdict  bool // can be given
	}{
		"unchanged":              {runs{"A": around(.9, .02)}, runs{"A": around(.9, .02)}, false, true},
		"faster":                 {runs{"A": around(.8, .02)}, runs{"A": around(.9, .02)}, false, true},
		"a tenth slower":         {runs{"A": around(.9, .02)}, runs{"A": around(.81, .02)}, true, true},
		"within the tolerance":   {runs{"A": around(.9, .001)}, runs{"A": around(.88, .001)}, false, true},
		"slower within noise":    {runs{"A": around(.9, .3)}, runs{"A": around(.81, .3)}, false, true},
		"one of two slower":      {runs{"A": around(.9, .02), "B": around(.5, .02)}, runs{"A": around(.9, .02), "B": around(.4, .02)}, true, true},
		"one is gone":            {runs{"A": around(.9, .02), "B": around(.5, .02)}, runs{"A": around(.9, .02)}, true, true},
		"one is new":             {runs{"A": around(.9, .02)}, runs{"A": around(.9, .02), "B": around(.1, .02)}, false, true},
		"too few runs":           {runs{"A": {.9, .9, .9}}, runs{"A": {.1, .1, .1}}, false, false},
		"nothing to compare by":  {runs{}, runs{"A": around(.9, .02)}, false, false},
		"wild outlier, the same": {runs{"A": around(.9, .02)}, runs{"A": append(around(.9, .02)[1:], .1)}, false, true},
	} {
		err := gate(io.Discard, parse(t, c.old), parse(t, c.now), 0.03)
		if errors.Is(err, errWorse) != c.worse || (err == nil || c.worse) != c.verdict {
			t.Errorf("%s: %v", name, err)
		}
	}
}
