package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// However a job ends, everything that its command has started ends with it, also what is
// in a session of its own; and of a job that is stopped, who saves a model behind a shell
// is told and has the time.
func TestNothingOutlivesItsJob(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip(err)
	}
	p := newPlace(t)
	tmp := filepath.Join(p.home, "tmp")
	check(t, os.Mkdir(tmp, 0o700))
	write(t, filepath.Join(p.home, "src", "a"), []byte("a"))
	p.run(0, "push", "src", "-d", "d")
	// A process in another session, and behind a shell, in a group of its own no more, one that saves.
	write(t, filepath.Join(p.home, "save.sh"), []byte("trap 'sleep 0.5; echo m >$SM_MODEL_DIR/m; exit 0' TERM\necho ready\nwhile :; do sleep 0.05; done\n"))
	const detached = `setsid sh -c 'trap "" TERM; echo $$ >pid; exec sleep 60' & while [ ! -s pid ]; do sleep 0.01; done; `
	for name, c := range map[string]struct {
		script  string
		signals []syscall.Signal
		code    int
		model   bool
	}{
		"it completes":               {detached + `echo m >$SM_MODEL_DIR/m; echo ready`, nil, exitDone, true},
		"it fails":                   {detached + `echo ready; exit 3`, nil, exitFailed, false},
		"it is stopped":              {detached + `sh save.sh; echo on`, []syscall.Signal{syscall.SIGTERM, 0, syscall.SIGTERM}, exitInterrupted, true},
		"it is stopped, and at once": {detached + `trap '' TERM; echo ready; sleep 60; sleep 60`, []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, exitInterrupted, false},
		"its run is killed":          {`setsid sh -c 'echo $$ >pid; exec sleep 60' & while [ ! -s pid ]; do sleep 0.01; done; sh save.sh; echo on`, []syscall.Signal{syscall.SIGKILL}, -1, true},
	} {
		for _, flag := range []string{"--output=out", "--no-namespace"} {
			t.Run(name+" "+flag, func(t *testing.T) {
				os.Remove(filepath.Join(p.home, "pid"))
				os.RemoveAll(filepath.Join(p.home, "out"))
				cmd := p.command("train", "--local", "d", "--work-dir", tmp, "--output=out", flag, "--", "sh", "-c", c.script)
				out, err := cmd.StdoutPipe()
				check(t, err)
				check(t, cmd.Start())
				io.ReadFull(out, make([]byte, 6))
				for _, sig := range c.signals {
					if sig != 0 {
						check(t, cmd.Process.Signal(sig))
					}
					time.Sleep(400 * time.Millisecond)
				}
				io.Copy(io.Discard, out)
				cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != c.code {
					t.Errorf("exit code %d", code)
				}
				pid, err := strconv.Atoi(strings.TrimSpace(string(read(t, filepath.Join(p.home, "pid")))))
				if err != nil || !dead(pid) {
					t.Errorf("process %d goes on, %v", pid, err)
					syscall.Kill(pid, syscall.SIGKILL)
				}
				for _, job := range leftJobs(t, p, tmp) {
					p.run(0, "train", "--local", "--work-dir", tmp, "--resume", job)
				}
				if _, err := os.Stat(filepath.Join(p.home, "out", "model.tar.gz")); (err == nil) != c.model {
					t.Errorf("model: %v", err)
				}
			})
		}
	}
}

// dead reports whether a process runs no more; its parent may have to be told.
func dead(pid int) bool {
	for range 100 {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}
