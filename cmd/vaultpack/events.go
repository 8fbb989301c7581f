package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"time"
	"unicode/utf8"

	"github.com/vaultpack/vaultpack/internal/printable"
)

// schemaVersion is the version of the output of --json, see docs/JSON.md. It changes when
// a field is removed or changes its meaning, not when one is added.
const schemaVersion = 1

// An event is a line of --json. Its fields come between "event" and
// "schema", sorted.
type event map[string]any

// emit prints an event. The summary is held back until the end of the command, when its
// outcome is known.
func (c *console) emit(name string, e event) {
	if !c.json {
		return
	}
	if name == "summary" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.summary = e
		return
	}
	c.write([]byte(c.encode(name, e)))
	c.flush()
}

// encode returns the event's line. A value that cannot be encoded as JSON is
// replaced by a message, and makes the command fail.
func (c *console) encode(name string, e event) string {
	fields := maps.Clone(e)
	if fields == nil {
		fields = event{}
	}
	for k, v := range fields {
		switch t := v.(type) {
		case time.Time:
			fields[k] = timeText(t)
		case *time.Time:
			if fields[k] = nil; t != nil {
				fields[k] = timeText(*t)
			}
		}
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		c.broke(fmt.Errorf("an event %q cannot be written as JSON: %w", name, err))
		rest = []byte("{}")
	}
	if len(rest) > 2 {
		rest[0] = ','
	} else {
		rest = rest[1:]
	}
	return fmt.Sprintf(`{"event":%q%s,"schema":%d}`, name, printable.JSON(rest[:len(rest)-1]), schemaVersion) + "\n"
}

// timeText returns a time in RFC 3339, which has years of four digits. A time outside of
// that range is returned in seconds since 1970, as @SECONDS.
func timeText(t time.Time) string {
	if y := t.UTC().Year(); y < 0 || y > 9998 { // it has four digits in any time zone
		return fmt.Sprintf("@%d", t.Unix())
	}
	return t.Format(time.RFC3339Nano)
}

// setPath puts a path into an event. JSON cannot hold a path that is not UTF-8.
func (e event) setPath(path string) event {
	e["path"] = path
	if !utf8.ValidString(path) {
		e["path_base64"] = base64.StdEncoding.EncodeToString([]byte(path))
	}
	return e
}

// failure is an event about something that failed, with the dataset if one is known.
func (c *console) failure(err error) event {
	e := event{"error": err.Error()}
	if c.dataset != "" {
		e["dataset"] = c.dataset
	}
	return e
}

// failed reports a file that could not be processed.
func (c *console) failed(path string, err error) {
	c.emit("failed", c.failure(err).setPath(path))
	c.warnf("failed: %s: %v", show(path), err)
}

// damaged reports something, not always a file, that does not authenticate or differs.
func (c *console) damaged(err error) {
	c.emit("failed", c.failure(err))
	c.warnf("failed: %v", err)
}

func (c *console) warning(err error) {
	c.emit("warning", event{"warning": err.Error()})
	c.warnf("warning: %v", err)
}

// end reports the error that ended the command and returns the exit code.
func (c *console) end(err error) int {
	code, h := exitCode(err), c.hint(err)
	if err != nil {
		e := event{"error": c.called(err.Error()), "exit_code": code}
		if h != "" {
			e["hint"] = h
		}
		c.emit("error", e)
		c.warnf("vaultpack: %v", calledError{c, err})
		if h != "" {
			c.warnf("hint: %s", h)
		}
	}
	c.sumUp(err, code, h)
	c.flush()
	if c.outErr != nil && code == exitDone {
		fmt.Fprintf(c.stderr, "vaultpack: writing to standard output: %s\n", printable.Line("%v", c.outErr))
		return exitFailed
	}
	return code
}

// calledError is an error whose commands are written as they must be typed here.
type calledError struct {
	con *console
	error
}

func (e calledError) Error() string { return e.con.called(e.error.Error()) }

// sumUp prints the summary, which is the last event of every command.
func (c *console) sumUp(err error, code int, hint string) {
	if !c.json {
		return
	}
	e := event{"command": c.command}
	maps.Copy(e, c.summary)
	e["ok"], e["exit_code"] = err == nil, code
	if err != nil {
		e["error"] = c.called(err.Error())
	}
	if hint != "" {
		e["hint"] = hint
	}
	if _, named := e["dataset"]; !named && c.dataset != "" {
		e["dataset"] = c.dataset
	}
	c.write([]byte(c.encode("summary", e)))
}
