package stats

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want float64
	}{{nil, 0}, {[]float64{7}, 7}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := Median(c.v); got != c.want {
			t.Errorf("Median(%v) = %v, want %v", c.v, got, c.want)
		}
	}
}

// The wanted values are counted by hand from the C(m+n, m) equally likely
// orders, and from the published table of the test's critical values.
func TestProbabilityLower(t *testing.T) {
	low, high := []float64{1, 2, 3}, []float64{4, 5, 6}
	six := func(from float64) (v []float64) {
		for i := range 6 {
			v = append(v, from+float64(i))
		}
		return v
	}
	for name, c := range map[string]struct {
		a, b []float64
		want float64
	}{
		"all lower":          {high, low, 1.0 / 20},
		"all higher":         {low, high, 1},
		"six and six":        {six(10), six(0), 1.0 / 924},
		"one pair the wrong": {[]float64{3, 5, 6}, []float64{1, 2, 4}, 2.0 / 20},
		"nothing to compare": {nil, low, 1},
		"two by three":       {[]float64{4, 5}, []float64{1, 2, 3}, 1.0 / 10},
		"three by two":       {[]float64{3, 4, 5}, []float64{1, 2}, 1.0 / 10},
	} {
		if got := ProbabilityLower(c.a, c.b); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	// The same samples on both sides speak for neither.
	if p := ProbabilityLower(six(0), six(0)); p < 0.5 || p > 0.6 {
		t.Errorf("equal samples: %v", p)
	}
	// U = 7 is the largest that is significant at 0.05 for six and six.
	counts := distribution(6, 6)
	cum := func(to int) (s float64) {
		for _, n := range counts[:to+1] {
			s += n
		}
		return s / 924
	}
	if cum(7) > 0.05 || cum(8) < 0.05 {
		t.Errorf("P(U<=7) = %v, P(U<=8) = %v, want them around 0.05", cum(7), cum(8))
	}
}
