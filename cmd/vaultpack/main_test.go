package main

import (
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/leaktest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/trainer/sagemakertest"
	"github.com/vaultpack/vaultpack/vault"
)

func TestMain(m *testing.M) {
	testscript.Main(chosen{leaktest.Checked{M: m}}, map[string]func(){"vaultpack": func() { os.Exit(run(testWorld(), os.Args)) }})
}

// A chosen runs the tests, and is not used where the test binary is run as vaultpack.
type chosen struct{ leaktest.Checked }

func (c chosen) Run() int {
	flag.Parse()
	set := func(name, value string) {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	if cores := runtime.GOMAXPROCS(0); flag.Lookup("test.parallel").Value.String() == strconv.Itoa(cores) {
		set("test.parallel", strconv.Itoa(2*cores)) // most tests wait for processes
	}
	if race.Enabled && flag.Lookup("test.run").Value.String() == "" {
		set("test.run", concurrent)
	}
	return c.Checked.Run()
}

// concurrent are the tests with several things at once going on in one process of the command,
// which are run under the race detector. The others start it for one thing after the other: what
// runs beside each other in it has tests in its own package. All are run without the detector.
const concurrent = "^Test(Scripts|Serve|ServedToClients|Browse|MountUntilStopped|MountWithCommand|Interrupt|Input|EventsNeverPanic|" +
	"SignalWhileInputIsWaitedFor|TrainInterrupted|TrainDetach|TrainLocalStopped|LocalJobsThatEndTogether|SagemakerRunStopped|" +
	"SealedCheckpoints|PlanWorkCommit|DoctorInS3)$"

// testWorld is what a test tells the program that it starts, in its environment.
func testWorld() world {
	w := process()
	if file := os.Getenv("TEST_SALT_LOG"); file != "" {
		w.store = func(s vault.Store) vault.Store { return saltLog{s, file} }
	}
	if every := os.Getenv("TEST_EVERY"); every != "" {
		var err error
		if w.every, err = time.ParseDuration(every); err != nil {
			panic(err)
		}
	}
	return w
}

func TestScripts(t *testing.T) {
	dataset, err := filepath.Abs("../../testdata/dataset")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("testdata/script/*.txt*")
	if err != nil || len(scripts) < 20 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	if i := -1; race.Enabled {
		// Each starts the command many times. All of them run without the race detector.
		scripts = slices.DeleteFunc(scripts, func(string) bool { i++; return i%5 > 0 })
	}
	testscript.Run(t, testscript.Params{
		Files:               scripts,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"home", "tmp"} {
				if err := os.MkdirAll(filepath.Join(env.WorkDir, name), 0o755); err != nil {
					return err
				}
			}
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("TMPDIR", filepath.Join(env.WorkDir, "tmp"))
			env.Setenv("DIGITS", dataset)
			env.Setenv("TORCH", torchPython())
			env.Setenv("EXAMPLES", filepath.Join(dataset, "..", "..", "examples"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "mpi":
				_, err := exec.LookPath("mpirun")
				return err == nil && exec.Command("/usr/bin/python3", "-c", "import mpi4py").Run() == nil, nil
			case "torch":
				return torchPython() != "", nil
			case "hosts": // whether several can be run here
			default:
				return false, fmt.Errorf("there is no condition %q", cond)
			}
			err := sagemakertest.Available()
			if err != nil && os.Getenv("CI") != "" {
				return false, err
			}
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitsWith,
			"odd":  oddTree,
			"same": sameTree,
			"flip": flipByte,
			"fifo": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o644))
			},
			"mtime": setTime,
			"does":  doesAsPrinted,
		},
	})
}

// torchPython is a Python that has PyTorch, or "".
var torchPython = sync.OnceValue(func() string {
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import importlib.util as u, sys; sys.exit(not u.find_spec('torch'))").Run() == nil {
			return python
		}
	}
	return ""
})

// exitsWith runs a command as "code 4 vaultpack verify d", and wants that exit
// code. Its output is there for stdout and stderr.
func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// doesAsPrinted runs, as "does 0 REGEXP", the command that the regular expression finds
// in what the command before has written to standard error: its first group, if any.
func doesAsPrinted(ts *testscript.TestScript, neg bool, args []string) {
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stderr"))
	if found == nil {
		ts.Fatalf("no command is printed that matches %s", args[1])
	}
	ts.Logf("[%s]", found[len(found)-1])
	exitsWith(ts, neg, []string{args[0], "sh", "-c", found[len(found)-1]})
}

func oddTree(ts *testscript.TestScript, _ bool, args []string) {
	t := scriptT{ts}
	treetest.Odd(t, ts.MkAbs(args[0]), 3<<20)
}

func sameTree(ts *testscript.TestScript, _ bool, args []string) {
	for _, d := range treetest.Differences(ts.MkAbs(args[0]), ts.MkAbs(args[1])) {
		ts.Logf("%s", d)
		defer ts.Fatalf("%s and %s differ", args[0], args[1])
	}
}

// flipByte changes the byte in the middle of the one file that the pattern names.
func flipByte(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) != 1 {
		ts.Fatalf("%s names %d files", args[0], len(files))
	}
	b, err := os.ReadFile(files[0])
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(files[0], b, 0o644))
}

// setTime gives a file a time of 2001.
func setTime(ts *testscript.TestScript, _ bool, args []string) {
	tm := time.Unix(1_000_000_000, 42)
	ts.Check(os.Chtimes(ts.MkAbs(args[0]), tm, tm))
}

// scriptT lets package treetest fail a script.
type scriptT struct{ ts *testscript.TestScript }

func (t scriptT) Helper()           {}
func (t scriptT) Fatal(args ...any) { t.ts.Fatalf("%s", fmt.Sprint(args...)) }

// A saltLog appends the key and salt of each segment to a file before it goes to
// the vault, so that the log survives a killed process.
type saltLog struct {
	vault.Store
	file string
}

func (s saltLog) Unwrap() vault.Store { return s.Store }

func (s saltLog) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	return s.Store.Put(ctx, name, func(w io.Writer) error {
		log, err := os.OpenFile(s.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		defer log.Close()
		return write(&saltWriter{w: w, log: log})
	})
}

// Create stores version roots, which are small enough to be made in memory.
func (s saltLog) Create(ctx context.Context, name string, data []byte) error {
	if path.Ext(name) == ".vpk" {
		log, err := os.OpenFile(s.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		defer log.Close()
		w := &saltWriter{w: io.Discard, log: log}
		w.Write(data[:envelope.HeaderSize])
		if _, err := w.Write(data[envelope.HeaderSize:]); err != nil {
			return err
		}
	}
	return s.Store.Create(ctx, name, data)
}

// A saltWriter finds the salts in a sealed file that is written in whole headers
// and segments, as envelope.Writer does. The header, less the keyring, stands for
// the object key, which depends on nothing else under one data key.
type saltWriter struct {
	w       io.Writer
	log     io.Writer
	header  string
	segment int
}

func (s *saltWriter) Write(p []byte) (int, error) {
	line := ""
	if s.header == "" {
		s.header = hex.EncodeToString(p[:60])
		if len(p) != envelope.HeaderSize {
			return 0, fmt.Errorf("a header of %d bytes", len(p))
		}
	} else {
		line = fmt.Sprintf("%s %s %d\n", s.header, hex.EncodeToString(p[:24]), s.segment)
		s.segment++
	}
	if _, err := io.WriteString(s.log, line); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}
