package metrics

import (
	"bytes"
	"errors"
	"sync"
	"time"
)

// maxLine is how many bytes of a line are examined.
const maxLine = 64 << 10

var errNoLines = errors.New("metrics: Lines that Collector.Lines has not made")

// Lines returns a writer that passes each line written to it to the Collector, with the time
// at which it was written. Close passes on a last line without a newline. It is safe for
// concurrent use, and Write returns no error.
func (c *Collector) Lines() *Lines { return &Lines{to: c, now: time.Now} }

// Lines splits a stream into lines for a Collector.
type Lines struct {
	to  *Collector
	now func() time.Time

	mu   sync.Mutex
	line []byte // the beginning of an unfinished line
}

// Write accepts the next part of the stream.
func (l *Lines) Write(b []byte) (int, error) {
	if l == nil || l.to == nil {
		return 0, errNoLines
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	for len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte("\n"))
		if left := maxLine - len(l.line); left > 0 {
			l.line = append(l.line, part[:min(left, len(part))]...)
		}
		if ended {
			l.end()
		}
		b = rest
	}
	return n, nil
}

// end passes on the line.
func (l *Lines) end() {
	if len(l.line) > 0 {
		l.to.Line(l.now(), string(bytes.TrimSuffix(l.line, []byte("\r"))))
	}
	l.line = l.line[:0]
}

// Close passes on the last line.
func (l *Lines) Close() error {
	if l == nil || l.to == nil {
		return errNoLines
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
	return nil
}
