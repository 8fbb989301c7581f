package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/vaultpack/vaultpack/internal/printable"
)

// A console prints what a command reports: results go to standard output, everything else
// to standard error. With --json, events go to standard output as objects. It is safe for
// concurrent use.
type console struct {
	world
	json, quiet, terminal bool
	// command is the command that runs. flags are the common flags given to it, which
	// locate the vault and the keys.
	command string
	flags   []string
	behind  int    // how many arguments were typed after --
	dashes  bool   // -- was typed
	dataset string // the dataset of the command, once known
	// untilStopped is set by a command that runs until a signal stops it, which then
	// does not count as an interruption.
	untilStopped bool

	mu      sync.Mutex
	out     *bufio.Writer
	err     io.Writer // replaced while a progress bar is drawn
	summary event     // printed at the end
	outErr  error     // the first error of writing to out
}

func newConsole(w world) *console {
	return &console{world: w, out: bufio.NewWriter(w.stdout), err: w.stderr, terminal: term.IsTerminal(int(w.stderr.Fd()))}
}

// printf writes a line of the result.
func (c *console) printf(format string, args ...any) {
	if c.json || c.quiet {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(c.out.WriteString(printable.Line(format, args...) + "\n"))
}

// write writes the result itself, which --quiet and --json do not change.
func (c *console) write(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(c.out.Write(b))
}

// flush shows what printf has written, when people wait for it.
func (c *console) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(0, c.out.Flush())
}

// keep remembers the first error of writing to standard output.
func (c *console) keep(_ int, err error) {
	if c.outErr == nil {
		c.outErr = err
	}
}

// broke remembers an error that makes the output incomplete.
func (c *console) broke(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(0, err)
}

// dataOnOutput says that standard output holds data, so that events go to standard error.
func (c *console) dataOnOutput() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = bufio.NewWriter(c.stderr)
}

// notef writes a line that --quiet hides.
func (c *console) notef(format string, args ...any) {
	if c.json || c.quiet {
		return
	}
	c.warnf(format, args...)
}

// warnf writes a line that even --quiet shows.
func (c *console) warnf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(0, c.out.Flush()) // on a terminal, both appear in the order of writing
	io.WriteString(c.err, printable.Line(format, args...)+"\n")
}

// show makes a path safe to print. A path with unprintable characters is quoted.
func show(path string) string {
	if q := strconv.Quote(path); q[1:len(q)-1] != path || path == "" || strings.TrimSpace(path) != path {
		return q
	}
	return path
}

// size formats a number of bytes for people.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("% .1f", decor.SizeB1024(n))
}

// number formats a number for people, with commas.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// verb returns the form of a verb for n things.
func verb(n int64, one, more string) string {
	if n == 1 {
		return one
	}
	return more
}

// count returns a number with its noun.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		noun = stem + "ie"
	}
	return number(n) + " " + noun + "s"
}
