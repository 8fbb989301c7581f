package local

import (
	"errors"
	"os/exec"
	"runtime"
	"testing"

	"github.com/vaultpack/vaultpack/internal/workers"
)

// A writer of the caller's that panics, or ends its goroutine, in one of package exec's
// does so where the job was run.
func TestOutputThatPanics(t *testing.T) {
	errTrap := errors.New("the writer panics")
	for name, write := range map[string]func(){"panics": func() { panic(errTrap) }, "exits": runtime.Goexit} {
		var g workers.Guard
		cmd := exec.Command("/bin/sh", "-c", "echo a; echo b >&2; exit 0")
		w := guarded(&g, writerFunc(func(p []byte) (int, error) { write(); return len(p), nil }))
		cmd.Stdout, cmd.Stderr = w, w
		if err := cmd.Run(); err == nil {
			t.Errorf("%s: the command's output was taken", name)
		}
		ended := make(chan any)
		go func() {
			defer func() { ended <- recover() }()
			g.Resume()
			ended <- "it returned"
		}()
		value, _ := (<-ended).(error)
		if want := map[string]error{"panics": errTrap}[name]; !errors.Is(value, want) {
			t.Errorf("%s: %v", name, value)
		}
	}
	if w := guarded(nil, nil); w != nil {
		t.Error("no writer becomes one")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
