// Package results reads the output of go test -bench
// (golang.org/design/14313-benchmark-format).
package results

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/bench/internal/stats"
)

// A File holds the samples of one or more runs.
type File struct {
	// Config holds the lines "key: value"; the last value of a key counts.
	Config map[string]string
	// samples by benchmark and unit, in the order of the file.
	samples map[string]map[string][]float64
}

// The number of cores that package testing appends to a name. It is not part of
// what is compared: a run says it once, in its configuration.
var coresSuffix = regexp.MustCompile(`-[0-9]+$`)

var configLine = regexp.MustCompile(`^([a-z][^\s:]*):\s*(.*)$`)

// Parse reads a whole file. Lines of other forms are skipped, as the format
// requires; a line that begins as a benchmark but continues differently is an
// error, unless it is only a name, which a failed benchmark leaves.
func Parse(r io.Reader) (*File, error) {
	f := &File{Config: map[string]string{}, samples: map[string]map[string][]float64{}}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if m := configLine.FindStringSubmatch(line); m != nil {
			f.Config[m[1]] = m[2]
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if len(fields)%2 != 0 || len(fields) < 4 {
			return nil, fmt.Errorf("line %d: %q is no benchmark result", n, line)
		}
		name := coresSuffix.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		units := f.samples[name]
		if units == nil {
			units = map[string][]float64{}
			f.samples[name] = units
		}
		for i := 2; i < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			units[fields[i+1]] = append(units[fields[i+1]], v)
		}
	}
	return f, lines.Err()
}

// Names returns the names of all benchmarks that have the unit, sorted.
func (f *File) Names(unit string) []string {
	var names []string
	for name, units := range f.samples {
		if len(units[unit]) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Samples returns what the runs of a benchmark measured.
func (f *File) Samples(name, unit string) []float64 { return f.samples[name][unit] }

// Median returns the median of the samples, and whether there are any.
func (f *File) Median(name, unit string) (float64, bool) {
	s := f.Samples(name, unit)
	return stats.Median(s), len(s) > 0
}
