package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
)

var none = regexp.MustCompile("^$")

// module makes a module with one package, and goes there.
func module(t *testing.T, tests string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module example.com/m\n",
		"m_test.go": "package m\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nvar _ = os.Getenv\n\n" + tests,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOWORK", "off")
}

// What go test -json says becomes what go test says, and what it left out.
func TestReport(t *testing.T) {
	say := func(action, test, output string) string {
		b, err := json.Marshal(map[string]any{"Action": action, "Package": "example.com/m", "Test": test, "Output": output})
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	ended := func(action string) string { return say("output", "", "FAIL?\n") + say(action, "", "") }
	for name, c := range map[string]struct {
		events        string
		says          []string
		never         string
		passed, faild int
	}{
		"passes": {say("output", "TestA", "    a_test.go:1: quiet\n") + say("pass", "TestA", "") + ended("pass"),
			[]string{"ok  \texample.com/m", "\n1 tests ran in 1 packages, 0 of them failed; 0 were left out\n"}, "quiet|LEFT OUT|FAIL", 1, 0},
		"skips": {say("output", "TestB", "=== RUN TestB\n") + say("output", "TestB", "    a_test.go:1: needs a server\n") + say("output", "TestB", "--- SKIP: TestB\n") +
			say("skip", "TestB", "") + ended("pass"), []string{"\t1 left out\n", "LEFT OUT, 1 tests:\n  needs a server\n    example.com/m.TestB\n"}, "FAIL", 0, 0},
		"skips a part": {say("output", "TestA/part", "    a_test.go:1: why\n") + say("skip", "TestA/part", "") + say("pass", "TestA", "") + ended("pass"),
			[]string{"LEFT OUT, 1 tests:\n  why\n    example.com/m.TestA/part\n"}, "FAIL", 1, 0},
		"skips silently": {say("skip", "TestA", "") + ended("pass"), []string{"LEFT OUT, 1 tests:\n  no reason given\n"}, "FAIL", 0, 0},
		"fails": {say("output", "TestA", "    a_test.go:1: it is wrong\n") + say("output", "TestB", "quiet\n") + say("fail", "TestA", "") + say("pass", "TestB", "") + ended("fail"),
			[]string{"it is wrong\n", "FAIL\texample.com/m", "2 tests ran in 1 packages, 1 of them failed"}, "quiet|ok", 1, 1},
		"panics": {say("output", "TestA", "panic: oh\n") + say("fail", "TestA", "") + ended("fail"), []string{"panic: oh\n", "FAIL\t"}, "ok", 0, 1},
		"does not compile": {say("build-output", "", "a.go:1: undefined: x\n") + say("build-fail", "", "") + ended("fail"),
			[]string{"undefined: x\n", "FAIL\texample.com/m", "0 tests ran"}, "ok", 0, 0},
		"has no tests":  {say("skip", "", ""), []string{"0 tests ran in 0 packages"}, "example", 0, 0},
		"is no go test": {"flag provided but not defined\n", []string{"flag provided but not defined\n"}, "example", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			r := newReport(&out)
			if err := r.read(strings.NewReader(c.events)); err != nil {
				t.Error(err)
			}
			r.summary()
			if r.passed != c.passed || r.failed != c.faild {
				t.Errorf("%d passed and %d failed, want %d and %d", r.passed, r.failed, c.passed, c.faild)
			}
			for _, s := range c.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("it does not say %q:\n%s", s, &out)
				}
			}
			if regexp.MustCompile(c.never).MatchString(out.String()) {
				t.Errorf("it says something like %q:\n%s", c.never, &out)
			}
		})
	}
}

// The exit code is that of go test, and a run without a test is none.
func TestRun(t *testing.T) {
	race.Skip(t, "go test is another process")
	module(t, "func TestGood(t *testing.T) {}\nfunc TestBad(t *testing.T) { t.Error(\"it is wrong\") }")
	for args, want := range map[string]string{
		"-run=Good": "", "-run=Bad": "exit status 1", "-run=Other": "no test ran",
	} {
		var out bytes.Buffer
		err := run(&out, "", false, none, []string{"-vet=off", args, "./..."})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q\n%s", args, err, want, &out)
		}
	}
}

// Only where the race detector itself crashed is a package run once more, and then only
// once.
func TestDetectorCrashes(t *testing.T) {
	race.Skip(t, "go test is another process")
	const dump = "SIGSEGV: segmentation violation\nPC=0x41c909 m=5 sigcode=1\n"
	for name, c := range map[string]struct {
		first, second string // what it prints before it exits; nothing is a test that passes
		runs          int
		err           bool
	}{
		"crash":           {dump, "", 2, false},
		"crash twice":     {dump, dump, 2, true},
		"crash and panic": {"panic: oh\n" + dump, "", 1, true},
		"race":            {"WARNING: DATA RACE\n" + dump, "", 1, true},
		"fault in Go":     {"unexpected fault address 0x0\nfatal error: fault\n", "", 1, true},
		"exit":            {"done\n", "", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			module(t, `func TestOnce(t *testing.T) {
				say := os.Getenv("FIRST")
				f, err := os.OpenFile(os.Getenv("RUNS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
				if err != nil { t.Fatal(err) }
				if s, _ := f.Stat(); s.Size() > 0 { say = os.Getenv("SECOND") }
				f.WriteString("x")
				if say != "" { os.Stdout.WriteString(say); os.Exit(2) }
			}`)
			runs := filepath.Join(t.TempDir(), "runs")
			t.Setenv("RUNS", runs)
			t.Setenv("FIRST", c.first)
			t.Setenv("SECOND", c.second)
			var out bytes.Buffer
			err := run(&out, "", false, none, []string{"-vet=off", "-count=1", "./..."})
			if (err != nil) != c.err {
				t.Errorf("error %v, want one: %v\n%s", err, c.err, &out)
			}
			if b, err := os.ReadFile(runs); err != nil || len(b) != c.runs {
				t.Errorf("%d runs, %v, want %d\n%s", len(b), err, c.runs, &out)
			}
		})
	}
}

// What one run left out the last has to run.
func TestRest(t *testing.T) {
	race.Skip(t, "go test is another process")
	const tests = `func TestAlways(t *testing.T) {}
func TestFirst(t *testing.T) { if os.Getenv("RUN") != "1" { t.Skip("first only") } }
func TestSecond(t *testing.T) { t.Run("part", func(t *testing.T) { if os.Getenv("RUN") == "1" { t.Skip("needs a server") } }) }
func TestParts(t *testing.T) {
	t.Run("every", func(t *testing.T) { if os.Getenv("RUN") == "3" { t.Error("it ran before") } })
	t.Run("third (a|b)", func(t *testing.T) { t.Run("x", func(t *testing.T) { if os.Getenv("RUN") != "3" { t.Skip("not with the race detector") } }) })
}
func TestThird(t *testing.T) { if os.Getenv("RUN") != "3" { t.Skip("not with the race detector") } }
func TestNever(t *testing.T) { t.Run("x", func(t *testing.T) { if os.Getenv("NEVER") != "" { t.Skip("cannot") } }) }
`
	module(t, tests)
	for name, c := range map[string]struct{ never, allow, err string }{
		"all ran":     {"", "^$", ""},
		"one may not": {"1", "^can$", `no run ran: example.com/m.TestNever/x \(cannot\)$`},
		"one may":     {"1", "^cannot$", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NEVER", c.never)
			file := filepath.Join(t.TempDir(), "ledger")
			for _, number := range []string{"1", "2"} {
				t.Setenv("RUN", number)
				if err := run(&bytes.Buffer{}, file, false, none, []string{"-vet=off", "./..."}); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("RUN", "3")
			var out bytes.Buffer
			err := run(&out, file, true, regexp.MustCompile(c.allow), []string{"-vet=off"})
			if c.err == "" && err != nil || c.err != "" && (err == nil || !regexp.MustCompile(c.err).MatchString(err.Error())) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if !strings.Contains(out.String(), "TestThird") || regexp.MustCompile("TestAlways|TestFirst|TestSecond").MatchString(out.String()) {
				t.Errorf("the last run: %s", &out)
			}
			if c.never != "" {
				return
			}
			out.Reset()
			if err := run(&out, file, true, none, nil); err != nil || !strings.Contains(out.String(), "nothing was left out: 11 tests ran in 1 packages, 0 were left out") {
				t.Errorf("once more: %v, %s", err, &out)
			}
		})
	}
}
