package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/race"
)

// A documentedField is what docs/JSON.md says of a field.
type documentedField struct {
	kind           string
	optional, null bool
}

// documented reads the tables of docs/JSON.md: the fields of events, and those of
// summaries by command.
func documented(t *testing.T) (events, summaries map[string]map[string]documentedField) {
	t.Helper()
	f, err := os.Open("../../docs/JSON.md")
	check(t, err)
	defer f.Close()
	events, summaries = map[string]map[string]documentedField{}, map[string]map[string]documentedField{}
	var into map[string]map[string]documentedField
	for s := bufio.NewScanner(f); s.Scan(); {
		cells := strings.Split(strings.ReplaceAll(s.Text(), `\|`, "/"), "|")
		if len(cells) != 6 {
			continue
		}
		switch first := strings.TrimSpace(cells[1]); {
		case first == "event":
			into = events
		case first == "command":
			into = summaries
		case strings.HasPrefix(first, "`"):
			kind := strings.TrimSpace(cells[3])
			d := documentedField{strings.TrimSuffix(strings.TrimSuffix(kind, "?"), "/null"), strings.HasSuffix(kind, "?"), strings.HasSuffix(kind, "/null")}
			for _, name := range names(first) {
				if into[name] == nil {
					into[name] = map[string]documentedField{}
				}
				for _, field := range names(cells[2]) {
					into[name][field] = d
				}
			}
		}
	}
	return events, summaries
}

// names are the names in backquotes.
func names(cell string) (out []string) {
	for i, s := range strings.Split(cell, "`") {
		if i%2 == 1 {
			out = append(out, s)
		}
	}
	return out
}

func (d documentedField) fits(v any) bool {
	if d.kind == "any" {
		return true
	}
	switch v := v.(type) {
	case nil:
		return d.null
	case string:
		if d.kind != "time" {
			return d.kind == "string"
		}
		_, err := time.Parse(time.RFC3339Nano, v)
		return err == nil || strings.HasPrefix(v, "@")
	case bool:
		return d.kind == "boolean"
	case float64:
		return d.kind == "number" || d.kind == "integer" && v == math.Trunc(v)
	case []any:
		return d.kind == "array"
	case map[string]any:
		return d.kind == "object"
	}
	return false
}

// checkEvent compares a line with what is documented.
func checkEvent(events, summaries map[string]map[string]documentedField, line string) (name string, err error) {
	var e map[string]any
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		return "", err
	}
	name, _ = e["event"].(string)
	fields, known := events[name]
	if !known {
		return name, errors.New("the event is not documented")
	}
	if e["schema"] != float64(schemaVersion) {
		return name, fmt.Errorf("the schema is %v", e["schema"])
	}
	command, _ := e["command"].(string)
	for field, v := range e {
		d, known := fields[field]
		if !known && name == "summary" {
			d, known = summaries[command][field]
		}
		switch {
		case field == "event" || field == "schema":
		case !known:
			return name, fmt.Errorf("the field %s is not documented", field)
		case !d.fits(v):
			return name, fmt.Errorf("the field %s is %v, and no %s", field, v, d.kind)
		}
	}
	for field, d := range fields {
		if _, has := e[field]; !has && !d.optional {
			return name, fmt.Errorf("the field %s is missing", field)
		}
	}
	return name, nil
}

// Every line that any command prints with --json is as docs/JSON.md says, and the
// last one, whatever happens, is a summary with the exit code.
func TestJSONIsAsDocumented(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	events, summaries := documented(t)
	if len(events) < 20 || len(summaries) < 10 {
		t.Fatalf("%d events and %d summaries are documented", len(events), len(summaries))
	}
	p := newPlace(t)
	src, odd := filepath.Join(p.home, "src"), filepath.Join(p.home, "odd")
	write(t, filepath.Join(src, "a"), []byte("a"))
	write(t, filepath.Join(src, "sub", "b"), []byte("b"))
	check(t, os.Symlink("/etc", filepath.Join(src, "out")))
	write(t, filepath.Join(odd, "\xff\x1b\u202e"), []byte("odd"))
	check(t, os.Symlink(src, filepath.Join(src, "sub", "\xff")))
	seen := map[string]bool{}
	run := func(code int, args ...string) {
		t.Helper()
		out, errs := p.run(code, append([]string{"--json"}, args...)...)
		if slices.Contains([]string{"cat", "decrypt -o -", "encrypt -o -"}, strings.Join(args[:min(len(args), 1)], "")) {
			out = errs
			var lines []string
			for l := range strings.Lines(out) {
				if strings.HasPrefix(l, "{") {
					lines = append(lines, l)
				}
			}
			out = strings.Join(lines, "")
		}
		last := ""
		for line := range strings.Lines(out) {
			name, err := checkEvent(events, summaries, line)
			if err != nil {
				t.Errorf("%q: %v: %s", args, err, line)
			}
			last = name
			seen[name] = true
			if name == "summary" && !strings.Contains(line, fmt.Sprintf(`"exit_code":%d`, code)) || strings.ContainsAny(line, "\x1b\x07\u202e") {
				t.Errorf("%q: %s", args, line)
			}
		}
		if last != "summary" {
			t.Errorf("%q ends with %q: %s", args, last, out)
		}
	}
	run(0, "push", src, "-d", "d")
	run(0, "push", odd)
	run(0, "push", src, "-d", "d", "--dry-run")
	run(exitFailed, "push", src, "-d", "d", "--links", "error")
	write(t, filepath.Join(src, "a"), []byte("another"))
	run(0, "push", src, "-d", "d")
	run(0, "ls")
	run(0, "ls", "d", "--recursive")
	run(0, "ls", "odd")
	run(0, "versions", "d")
	run(0, "diff", "d@1")
	run(exitFailed, "restore", "none", p.home+"/none")
	run(exitSomeFailed, "restore", "d", p.home+"/out")
	run(exitFailed, "open", "d@1", odd)
	run(0, "open", "odd", p.home+"/opened")
	run(0, "verify", "d")
	run(exitSomeFailed, "verify", "d", "--against", odd)
	run(0, "cat", "d", "a")
	run(exitFailed, "cat", "d", "none")
	run(0, "gc", "d", "--dry-run")
	plan := p.plan(filepath.Join(src, "sub"), "-d", "planned", "--shards", "2")
	run(0, "plan", filepath.Join(src, "sub"), "-d", "planned", "--shards", "2")
	run(0, "work", plan, "--shard", "0")
	run(0, "plan", "status", plan)
	run(exitFailed, "commit", plan)
	run(0, "work", plan, "--shard", "1", "--commit")
	run(0, "commit", plan)
	run(0, "plan", "give-up", plan)
	run(0, "rm", "d@1")
	run(0, "config")
	run(0, "keys", "list", "d")
	run(0, "keys", "new", "identity", p.home+"/id")
	run(0, "keys", "add", "d", "--recipient", p.home+"/id.pub")
	run(0, "keys", "rotate", "d")
	run(0, "keys", "reseal", "d")
	run(0, "keys", "reseal", "--all")
	run(0, "encrypt", src+"/a")
	run(0, "inspect", src+"/a.vpk")
	run(0, "decrypt", src+"/a.vpk", "-o", p.home+"/a")
	run(exitFailed, "inspect", src+"/a")
	run(0, "init")
	run(exitUsage, "policy", "--for", "reader")
	run(exitUsage, "lst")
	run(exitUsage, "keys", "lst")
	run(exitUsage, "ls", "--nonsuch")
	run(exitUsage, "push", "--dataset", "--dry-run")
	run(exitUsage, "rm", "odd")
	run(0, "rm", "odd", "--confirm", "odd")
	run(0, "keys", "shred", "d", "--confirm", "d")
	for _, name := range []string{"vault-created", "entry", "dataset", "version", "changed", "failed", "warning", "error", "setting", "keyring"} {
		if !seen[name] {
			t.Errorf("no command has printed an event %q", name)
		}
	}
}

func TestEventsNeverPanic(t *testing.T) {
	con := &console{json: true}
	for _, e := range []event{nil, {"n": math.NaN()}, {"f": func() {}}, {"time": time.Unix(900000000000, 0)}, {"time": time.Unix(-1<<60, 0)}, {"text": "\x7f\u009b\u202e\U000e0001\xff"}} {
		line := con.encode("entry", e)
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil || got["event"] != "entry" || strings.ContainsAny(line, "\x7f\u009b\u202e\U000e0001") {
			t.Errorf("%v: %s, %v", e, line, err)
		}
	}
	if con.outErr == nil {
		t.Error("an event that cannot be told fails nothing")
	}
}

// Each event that the command emits is in docs/JSON.md.
func TestEventsAreDocumented(t *testing.T) {
	page := string(read(t, "../../docs/JSON.md"))
	files, err := filepath.Glob("*.go")
	check(t, err)
	emitted := regexp.MustCompile(`emit\("([a-z-]+)"`)
	n := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range emitted.FindAllSubmatch(read(t, file), -1) {
			if n++; !strings.Contains(page, "`"+string(m[1])+"`") {
				t.Errorf("%s emits %q, which docs/JSON.md does not have", file, m[1])
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d events were found", n)
	}
}
