package metrics

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func collector(t testing.TB, definitions ...Definition) *Collector {
	t.Helper()
	c, err := New(definitions)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLine(t *testing.T) {
	for _, c := range []struct{ regex, line, want string }{
		{`loss=([0-9.]+)`, "epoch 1 loss=0.25 acc=0.5", `0.25`},
		{`loss=([0-9.]+)`, "loss=0.5 loss=0.25", `0.5 0.25`},
		{`acc: ([\d.]+) of (\d+)`, "acc: 0.5 of 7", `0.5`},
		{`\d+e-?\d+`, "lr 1e-3", `1e-3`},
		{`loss=(\S+)`, "loss=nan", `NaN`},
		{`loss=(\S+)`, "loss=-inf", `-Inf`},
		{`loss=(\S+)`, "loss=1e999", `+Inf`},
		{`loss=(\S+)`, "loss=none", ``},
		{`loss=(\S+)?`, "loss=", ``},
		{`loss=( *\d+ *)`, "loss= 7 ", `7`},
		{`x`, "nothing", ``},
	} {
		col := collector(t, Definition{"m", c.regex})
		col.Line(time.Unix(1, 0), c.line)
		s := col.Series()[0]
		var got []string
		for _, p := range s.Points {
			got = append(got, fmt.Sprint(p.Value))
		}
		want := strings.Fields(c.want)
		if s.Count != len(want) {
			t.Errorf("%s in %q: %d values, want %q", c.regex, c.line, s.Count, want)
		}
		for i, w := range want {
			if strings.Contains(w, "N") || strings.Contains(w, "I") {
				if s.NotFinite != 1 || len(got) != 0 {
					t.Errorf("%s in %q: %+v", c.regex, c.line, s)
				}
			} else if w == "1e-3" && got[i] != "0.001" || w != "1e-3" && got[i] != w {
				t.Errorf("%s in %q: %q, want %q", c.regex, c.line, got, want)
			}
		}
		if _, err := json.Marshal(s); err != nil {
			t.Error(err)
		}
	}
}

// Of many values the extremes, the last one and an even choice are kept, in order.
func TestManyValues(t *testing.T) {
	col := collector(t, Definition{"v", `v=(\S+)`})
	const n = 100_003
	for i := range n {
		col.Line(time.Unix(int64(i), 0), fmt.Sprintf("v=%d", (i*7919)%n))
	}
	s := col.Series()[0]
	if s.Count != n || *s.Min != 0 || *s.Max != n-1 || len(s.Points) > maxPoints+1 || len(s.Points) < maxPoints/2 {
		t.Errorf("%d values from %v to %v, %d points", s.Count, *s.Min, *s.Max, len(s.Points))
	}
	stride := s.Points[1].Time.Sub(s.Points[0].Time)
	for i, p := range s.Points {
		if i > 0 && i < len(s.Points)-1 && p.Time.Sub(s.Points[i-1].Time) != stride {
			t.Fatalf("point %d is %v behind the one before it, not %v", i, p.Time.Sub(s.Points[i-1].Time), stride)
		}
		if want := float64((p.Time.Unix() * 7919) % n); p.Value != want {
			t.Fatalf("point %d has %v, want %v", i, p.Value, want)
		}
	}
	if last := s.Points[len(s.Points)-1]; last.Time.Unix() != n-1 || s.Last != fmt.Sprint(last.Value) {
		t.Errorf("the last point is %v, the last value %s", last, s.Last)
	}
}

// However a stream is cut, its lines are the same.
func TestLines(t *testing.T) {
	text := "v=1\r\nv=2\n\nv=3 v=4\n" + strings.Repeat("x", 2*maxLine) + "v=9\nv=5"
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		col := collector(t, Definition{"v", `v=(\d)\b`})
		l := col.Lines()
		for rest := text; rest != ""; {
			n := min(1+r.IntN([]int{3, 1 << 17}[r.IntN(2)]), len(rest))
			if k, err := l.Write([]byte(rest[:n])); k != n || err != nil {
				t.Fatal(k, err)
			}
			rest = rest[n:]
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var got []float64
		for _, p := range col.Series()[0].Points {
			got = append(got, p.Value)
		}
		if fmt.Sprint(got) != "[1 2 3 4 5]" {
			t.Fatalf("%v", got)
		}
	}
}

// An expression is refused where it is one nowhere.
func TestCheck(t *testing.T) {
	for _, ok := range []string{`a`, `loss=([0-9.]+)`, `(?=a)b`, `(?<!x)y`, `(a)\1`, `(?P<n>x)`, `\Qa`, `a{2,3}`} {
		if err := Check(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{`(`, `a)`, `[a`, `a\`, `*a`, `[z-a]`} {
		if Check(bad) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if _, err := New([]Definition{{"m", `(?=a)`}}); err == nil || !strings.Contains(err.Error(), `metric "m"`) {
		t.Errorf("%v", err)
	}
}

func Example() {
	c, err := New([]Definition{{Name: "accuracy", Regex: `accuracy=([0-9.]+)`}})
	if err != nil {
		panic(err)
	}
	for i, line := range []string{"epoch 1 accuracy=0.71", "saved", "epoch 2 accuracy=0.93"} {
		c.Line(time.Unix(int64(i), 0), line)
	}
	for _, s := range c.Series() {
		fmt.Println(s.Name, s.Last, "of", s.Count)
	}
	// Output: accuracy 0.93 of 2
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("v=1\nv=2"), `v=(\d+)`)
	f.Add([]byte("a\r\n\r\n"), `()`)
	f.Fuzz(func(t *testing.T, b []byte, regex string) {
		c, err := New([]Definition{{"v", regex}})
		if err != nil {
			return
		}
		l := c.Lines()
		l.Write(b)
		l.Close()
		for _, s := range c.Series() {
			if _, err := json.Marshal(s); err != nil {
				t.Error(err)
			}
		}
	})
}
