package local

import (
	"errors"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// A writer of the caller's that panics, or ends its goroutine, does so where the job was
// run.
func TestOutputThatPanics(t *testing.T) {
	errTrap := errors.New("the writer panics")
	for name, write := range map[string]func(){"panics": func() { panic(errTrap) }, "exits": runtime.Goexit} {
		j := &Job{Stdout: writerFunc(func(p []byte) (int, error) { write(); return len(p), nil })}
		j.Stderr = j.Stdout
		ended := make(chan any)
		go func() {
			returned := false
			defer func() {
				if v := recover(); v != nil {
					ended <- v
				} else {
					ended <- returned
				}
			}()
			newRun(t, j, t.TempDir()).start(t.Context(), exec.Command("/bin/sh", "-c", "echo a; echo b >&2; exit 0"))
			returned = true
		}()
		value := <-ended
		if err, _ := value.(error); name == "panics" && !errors.Is(err, errTrap) || name == "exits" && value != false {
			t.Errorf("%s: %v", name, value)
		}
	}
}

// What a command leaves behind, with its end of the pipe, holds the job up no longer than
// it takes to end it; what has left its group, not for ever.
func TestOutputOfWhatIsLeft(t *testing.T) {
	for script, most := range map[string]time.Duration{
		"echo last; sleep 60 &":                 4 * time.Second,
		"echo last; setsid sleep 8 & sleep 0.2": lingering + 2*time.Second,
	} {
		got := ""
		began := time.Now()
		j := &Job{Stdout: writerFunc(func(p []byte) (int, error) { got += string(p); return len(p), nil })}
		res, err := newRun(t, j, t.TempDir()).start(t.Context(), exec.Command("/bin/sh", "-c", script))
		if err != nil || res.Status != Completed || got != "last\n" || time.Since(began) > most {
			t.Errorf("%s: %+v, %v, %q after %v", script, res, err, got, time.Since(began))
		}
	}
	if w, err := new(outlet).to(nil); w != nil || err != nil {
		t.Error("no writer becomes one")
	}
}

// Output that could not be passed on is an error, however well the command ends.
func TestOutputThatFails(t *testing.T) {
	errFull := errors.New("full")
	j := &Job{Stderr: writerFunc(func([]byte) (int, error) { return 0, errFull })}
	if res, err := newRun(t, j, t.TempDir()).start(t.Context(), exec.Command("/bin/sh", "-c", "echo a >&2; exit 0")); res != nil || !errors.Is(err, errFull) {
		t.Errorf("%+v, %v", res, err)
	}
}

// newRun is a run of a job in a folder.
func newRun(t *testing.T, j *Job, dir string) *run {
	t.Helper()
	c, err := j.newCluster(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &run{Job: j, ws: &workspace{dir: dir, base: filepath.Join(dir, "ml")}, cluster: c}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
