package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// A console is where a command tells what it does: results on standard output,
// everything else on standard error; or, with --json, events as objects on
// standard output. It is safe for concurrent use.
type console struct {
	json, quiet, terminal bool

	mu  sync.Mutex
	out *bufio.Writer
	err io.Writer // replaced while a progress bar is drawn
}

func newConsole() *console {
	return &console{out: bufio.NewWriter(os.Stdout), err: os.Stderr, terminal: term.IsTerminal(int(os.Stderr.Fd()))}
}

func (c *console) configure(json, quiet bool) { c.json, c.quiet = json, quiet }

// An event is a line of --json. Its fields come after "event", sorted.
type event map[string]any

func (c *console) emit(name string, e event) {
	if !c.json {
		return
	}
	rest, err := json.Marshal(e)
	if err != nil {
		panic("vaultpack: event: " + err.Error()) // strings, numbers and slices of them
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, `{"event":%q`, name)
	if len(e) > 0 {
		c.out.WriteByte(',')
	}
	c.out.Write(rest[1:])
	c.out.WriteByte('\n')
	c.out.Flush()
}

// setPath puts a path into an event; JSON cannot hold one that is not UTF-8.
func (e event) setPath(path string) event {
	e["path"] = path
	if !utf8.ValidString(path) {
		e["path_base64"] = base64.StdEncoding.EncodeToString([]byte(path))
	}
	return e
}

// printf writes a line of the result.
func (c *console) printf(format string, args ...any) {
	if c.json || c.quiet {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.out, format+"\n", args...)
}

// flush shows what printf has written, where a command takes its time.
func (c *console) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Flush()
}

// notef writes a line that is good to know.
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
	c.out.Flush() // on a terminal, both are read in the order of writing
	fmt.Fprintf(c.err, format+"\n", args...)
}

// failed tells a file that could not be processed.
func (c *console) failed(path string, err error) {
	c.emit("failed", event{"error": err.Error()}.setPath(path))
	c.warnf("failed: %s: %v", show(path), err)
}

// damaged tells what does not authenticate or differs, which may be no file.
func (c *console) damaged(err error) {
	c.emit("failed", event{"error": err.Error()})
	c.warnf("failed: %v", err)
}

func (c *console) warning(err error) {
	c.emit("warning", event{"warning": err.Error()})
	c.warnf("warning: %v", err)
}

// end reports the error that ended the command and gives the exit code.
func (c *console) end(err error) int {
	code := exitCode(err)
	if err != nil {
		h := hint(err)
		e := event{"error": err.Error(), "exit_code": code}
		if h != "" {
			e["hint"] = h
		}
		c.emit("error", e)
		c.warnf("vaultpack: %v", err)
		if h != "" {
			c.warnf("hint: %s", h)
		}
	}
	if ferr := c.out.Flush(); ferr != nil && code == exitDone {
		fmt.Fprintf(os.Stderr, "vaultpack: writing to standard output: %v\n", ferr)
		return exitFailed
	}
	return code
}

// show makes a path safe to print: one with anything but printable characters is
// quoted.
func show(path string) string {
	if q := strconv.Quote(path); q[1:len(q)-1] != path || path == "" || strings.TrimSpace(path) != path {
		return q
	}
	return path
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("% .1f", decor.SizeB1024(n))
}

// number is one that people read, with commas.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// count is a number with its noun.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		noun = stem + "ie"
	}
	return number(n) + " " + noun + "s"
}
