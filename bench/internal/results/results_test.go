package results

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	f, err := Parse(strings.NewReader(`date: 2026-01-02
goos: linux
cpu: Some CPU @ 2.00GHz: fast
Unit ratio better=higher
BenchmarkSeal/size=1K/workers=all-2         	  100	   2000 ns/op	 14.66 MB/s	  0.5 ratio
BenchmarkSeal/size=1K/workers=all-2         	  100	   4000 ns/op	 14.66 MB/s	  0.25 ratio
BenchmarkSeal/size=1M/peer=sio
BenchmarkOther/x=y 7 1e3 ns/op
--- FAIL: BenchmarkFails
PASS
`))
	if err != nil {
		t.Fatal(err)
	}
	if f.Config["date"] != "2026-01-02" || f.Config["cpu"] != "Some CPU @ 2.00GHz: fast" {
		t.Errorf("configuration %q", f.Config)
	}
	if names := f.Names("ratio"); !slices.Equal(names, []string{"Seal/size=1K/workers=all"}) {
		t.Errorf("benchmarks with a ratio: %q", names)
	}
	if names := f.Names("ns/op"); !slices.Equal(names, []string{"Other/x=y", "Seal/size=1K/workers=all"}) {
		t.Errorf("benchmarks: %q", names)
	}
	if m, ok := f.Median("Seal/size=1K/workers=all", "ns/op"); m != 3000 || !ok {
		t.Errorf("median %v, %v", m, ok)
	}
	if _, ok := f.Median("Seal/size=1M/peer=sio", "ns/op"); ok {
		t.Error("a benchmark that has no result has a median")
	}
	for _, bad := range []string{"BenchmarkX 1 2 ns/op 3", "BenchmarkX 1 two ns/op"} {
		if _, err := Parse(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is taken for a result", bad)
		}
	}
}
