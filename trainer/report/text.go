package report

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/guptarohit/asciigraph"

	"github.com/vaultpack/vaultpack/internal/printable"
	"github.com/vaultpack/vaultpack/trainer/metrics"
)

// A Style describes what a terminal can show.
type Style struct {
	// Width is the number of columns; the default is 80.
	Width int
	// ASCII draws plots without box-drawing characters.
	ASCII bool
}

// WriteText writes the report as text, with a plot of each metric that has at least two
// values.
func (r *Report) WriteText(w io.Writer, s Style) error {
	if r == nil || w == nil {
		return errNoReport
	}
	if s.Width <= 0 {
		s.Width = 80
	}
	var b strings.Builder
	for _, f := range r.fields() {
		fmt.Fprintf(&b, "%-8s %s\n", f.name, f.text)
	}
	for _, m := range r.Metrics {
		fmt.Fprintf(&b, "%-8s %s\n", "metric", printable.Line("%s", describe(m)))
		if len(m.Points) > 1 {
			b.WriteString(plot(m.Points, s))
		}
	}
	if r.Missing != "" {
		fmt.Fprintf(&b, "%-8s %s\n", "metrics", printable.Line("%s", r.Missing))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// A field is a line of the report.
type field struct{ name, text string }

// fields returns what is known about the job except its metrics.
func (r *Report) fields() (all []field) {
	add := func(name, format string, args ...any) {
		all = append(all, field{name, printable.Line(format, args...)})
	}
	where := ", in SageMaker"
	if r.Where == Local {
		where = ", on this machine"
	}
	add("job", "%s%s", r.Job, where)
	add("status", "%s", r.state())
	if r.Reason != "" {
		add("reason", "%s", r.Reason)
	}
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"created", r.Created}, {"started", r.Started}, {"ended", r.Ended}} {
		if !t.at.IsZero() {
			add(t.name, "%s", t.at.Local().Format(time.DateTime))
		}
	}
	if len(r.Instances) > 0 {
		add("hosts", "%s", strings.Join(r.Instances, ", "))
	} else if r.Hosts > 1 {
		add("hosts", "%d", r.Hosts)
	}
	if r.BillableSeconds != nil {
		text := fmt.Sprintf("%d s", *r.BillableSeconds)
		if r.TrainedSeconds != nil {
			text += fmt.Sprintf(" of %d s", *r.TrainedSeconds)
		}
		if r.SpotSavedPercent != nil {
			text += fmt.Sprintf(", %d %% saved by spot", *r.SpotSavedPercent)
		}
		add("billed", "%s", text)
	}
	for _, in := range r.Inputs {
		add("channel", "%s: %s", in.Channel, in)
	}
	if r.Model != "" {
		add("model", "%s", r.Model)
	}
	return all
}

// describe returns a metric on one line.
func describe(m metrics.Series) string {
	if m.Count == 0 {
		return m.Name + ": no value"
	}
	s := m.Name + " " + m.Last
	if m.Count > 1 {
		s += fmt.Sprintf(", the last of %d values", m.Count)
		if m.Min != nil {
			s += fmt.Sprintf(" from %.4g to %.4g", *m.Min, *m.Max)
		}
	}
	if m.NotFinite > 0 {
		s += fmt.Sprintf("; %d of them not finite", m.NotFinite)
	}
	return s
}

const (
	plotHeight = 6
	labelWidth = 10
	minColumns = 10
	maxColumns = 120
)

// plot draws the values over time.
func plot(points []metrics.Point, s Style) string {
	n := max(minColumns, min(maxColumns, s.Width-labelWidth-4))
	text := asciigraph.Plot(columns(points, n), asciigraph.Height(plotHeight),
		asciigraph.YAxisValueFormatter(func(v float64) string { return fmt.Sprintf("%*.4g", labelWidth, v) }))
	if s.ASCII {
		text = ascii.Replace(text)
	}
	first, last := clock(points)
	margin := strings.Repeat(" ", labelWidth+2)
	return text + "\n" + margin + first + strings.Repeat(" ", max(1, n-len(first)-len(last))) + last + "\n"
}

var ascii = strings.NewReplacer("─", "-", "│", "|", "╭", ".", "╮", ".", "╰", "'", "╯", "'", "╴", "-", "╶", "-", "┤", "|", "┼", "+", "└", "'", "┬", "+")

// clock returns the times of the first and the last point.
func clock(points []metrics.Point) (first, last string) {
	a, b := points[0].Time.Local(), points[len(points)-1].Time.Local()
	format := time.TimeOnly
	if a.YearDay() != b.YearDay() || a.Year() != b.Year() {
		format = "01-02 15:04"
	}
	return a.Format(format), b.Format(format)
}

// columns divides the time into n parts and returns the mean value of each. Parts without
// values are interpolated.
func columns(points []metrics.Point, n int) []float64 {
	begin, span := points[0].Time, points[len(points)-1].Time.Sub(points[0].Time)
	sums, counts := make([]float64, n), make([]int, n)
	for i, p := range points {
		at := float64(i) / float64(len(points)-1) // if all have the same time
		if span > 0 {
			at = float64(p.Time.Sub(begin)) / float64(span)
		}
		k := max(0, min(n-1, int(at*float64(n))))
		counts[k]++
		sums[k] += (p.Value - sums[k]) / float64(counts[k]) // avoid a sum that could be infinite
	}
	last := -1
	for k := range n {
		if counts[k] == 0 {
			continue
		}
		for i := last + 1; i < k && last >= 0; i++ {
			part := float64(i-last) / float64(k-last)
			sums[i] = sums[last]*(1-part) + sums[k]*part
		}
		last = k
	}
	for i, v := range sums { // asciigraph computes differences of values
		sums[i] = math.Max(-math.MaxFloat64/4, math.Min(math.MaxFloat64/4, v))
	}
	return sums
}
