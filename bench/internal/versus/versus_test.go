package versus

import (
	"flag"
	"testing"
	"time"
)

func TestRunReportsWhoIsFaster(t *testing.T) {
	sleeping := func(d time.Duration) func(int) error {
		return func(n int) error {
			time.Sleep(time.Duration(n) * d)
			return nil
		}
	}
	old := flag.Lookup("test.benchtime").Value.String()
	flag.Set("test.benchtime", "20x")
	defer flag.Set("test.benchtime", old)
	const size = 1000
	r := testing.Benchmark(func(b *testing.B) {
		time.Sleep(500 * time.Millisecond) // preparations
		Run(b, size, sleeping(4*time.Millisecond),
			Side{LimitName, sleeping(2 * time.Millisecond)},
			Side{"slow", sleeping(12 * time.Millisecond)})
	})
	// The bounds leave room for a sleep that comes back late, and none for a
	// ratio the wrong way round or a side that counts in another's time.
	for unit, bounds := range map[string][2]float64{
		"ratio":      {0.3, 0.9},
		"MB/s":       {size / 4e3 / 3, size / 4e3},
		"limit-MB/s": {size / 2e3 / 3, size / 2e3},
		"slow-x":     {0.2, 0.8},
		"slow-MB/s":  {size / 12e3 / 3, size / 12e3},
	} {
		if got, ok := r.Extra[unit]; !ok || got < bounds[0] || got > bounds[1] {
			t.Errorf("%s is %v, want it within %v", unit, got, bounds)
		}
	}
	if per := time.Duration(r.NsPerOp()); per < 4*time.Millisecond || per > 14*time.Millisecond {
		t.Errorf("an operation of 4 ms is said to take %v", per)
	}
}
