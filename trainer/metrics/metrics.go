// Package metrics finds the values of metrics in the output of a training job, using the
// regular expressions of the job's metric definitions.
//
// The log has every value with its time. CloudWatch's metrics, which SageMaker computes
// with the same expressions, have one value per minute.
package metrics

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Definition is a metric of a job, as in SageMaker's API: an output line that the
// expression matches has a value of the metric in the expression's first group or, without
// groups, in the whole match.
type Definition struct{ Name, Regex string }

// A Series holds the values of one metric, oldest first.
type Series struct {
	Name string `json:"name"`
	// Count is how many values there were.
	Count int `json:"count"`
	// NotFinite is how many of them were NaN or infinite. They are not in Points.
	NotFinite int `json:"not_finite,omitempty"`
	// Last is the text of the last value.
	Last string `json:"last,omitempty"`
	// Min and Max are the extremes of all finite values, nil if there are none.
	Min *float64 `json:"min,omitempty"`
	Max *float64 `json:"max,omitempty"`
	// Points are the finite values: all of them or, if there are many, some at equal
	// distances and the last one.
	Points []Point `json:"points,omitempty"`
}

// A Point is a finite value.
type Point struct {
	Time  time.Time `json:"time"`
	Value float64   `json:"value"`
}

// maxPoints limits how many points of a series are kept.
const maxPoints = 2048

// A Collector reads lines and keeps the values that it finds, in bounded memory. It is safe
// for concurrent use.
type Collector struct {
	mu      sync.Mutex
	metrics []*metric
}

type metric struct {
	regex  *regexp.Regexp
	series Series
	finite int // values
	stride int // every stride-th of them is kept
	newest Point
}

// New returns a Collector for the metrics. It returns an error for an expression that is
// not valid in Go's syntax (https://go.dev/s/re2syntax), such as one with (?=…) or \1,
// although SageMaker may.
func New(definitions []Definition) (*Collector, error) {
	c := &Collector{}
	for _, d := range definitions {
		re, err := regexp.Compile(d.Regex)
		if err != nil {
			return nil, fmt.Errorf("metric %q: %w; see https://go.dev/s/re2syntax", d.Name, err)
		}
		c.metrics = append(c.metrics, &metric{regex: re, series: Series{Name: d.Name}, stride: 1})
	}
	return c, nil
}

// Check returns an error for an expression that is not valid in any common syntax. It
// returns nil for one that only Go does not support.
func Check(regex string) error {
	_, err := regexp.Compile(regex)
	var e *syntax.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code {
	case syntax.ErrMissingBracket, syntax.ErrMissingParen, syntax.ErrUnexpectedParen, syntax.ErrTrailingBackslash,
		syntax.ErrInvalidCharRange, syntax.ErrMissingRepeatArgument:
		return err
	}
	return nil
}

// Line looks for values in a line that was printed at the given time.
func (c *Collector) Line(at time.Time, text string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.metrics {
		for _, found := range m.regex.FindAllStringSubmatch(text, -1) {
			value := strings.TrimSpace(found[min(1, len(found)-1)])
			if v, err := strconv.ParseFloat(value, 64); err == nil || errors.Is(err, strconv.ErrRange) {
				m.add(at, value, v)
			}
		}
	}
}

func (m *metric) add(at time.Time, text string, v float64) {
	s := &m.series
	s.Count++
	s.Last = text
	if math.IsNaN(v) || math.IsInf(v, 0) {
		s.NotFinite++
		return
	}
	if s.Min == nil || v < *s.Min {
		s.Min = &v
	}
	if s.Max == nil || v > *s.Max {
		s.Max = &v
	}
	m.newest = Point{at, v}
	if m.finite%m.stride == 0 {
		if len(s.Points) == maxPoints { // drop every second one
			for i := range maxPoints / 2 {
				s.Points[i] = s.Points[2*i]
			}
			s.Points = s.Points[:maxPoints/2]
			m.stride *= 2
		}
		s.Points = append(s.Points, m.newest)
	}
	m.finite++
}

// Series returns what was found so far, in the order of the definitions.
func (c *Collector) Series() []Series {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Series, 0, len(c.metrics))
	for _, m := range c.metrics {
		s := m.series
		s.Points = append([]Point(nil), s.Points...)
		if n := len(s.Points); n > 0 && s.Points[n-1] != m.newest {
			s.Points = append(s.Points, m.newest)
		}
		all = append(all, s)
	}
	return all
}
