package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/race"
)

// A run that is killed at any moment after its job has made a model has sealed it, or has
// left it where jobs local finds it and train --resume seals it.
func TestKilledLocalJobsLoseNoModel(t *testing.T) {
	race.Skip(t, "a process that is killed reports no race")
	t.Parallel()
	p := newPlace(t)
	tmp := filepath.Join(p.home, "tmp")
	check(t, os.Mkdir(tmp, 0o700))
	write(t, filepath.Join(p.home, "src", "a"), []byte("a"))
	p.run(0, "push", "src", "-d", "d")
	kills, resumed := 30, 0
	if testing.Short() {
		kills = 5
	}
	for i := range kills {
		set := fmt.Sprintf("models-%d", i)
		cmd := p.command("train", "--local", "d", "--output-seal", set, "--work-dir", tmp, "--", "sh", "-c", "echo model >$SM_MODEL_DIR/m; echo ready; exec sleep 0.1")
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		io.ReadFull(out, make([]byte, 6))
		time.Sleep(rand.N(350 * time.Millisecond))
		cmd.Process.Kill()
		io.Copy(io.Discard, out)
		cmd.Wait()
		// An other run in between removes nothing of it.
		if i%5 == 0 {
			p.run(0, "train", "--local", "d", "--work-dir", tmp, "--output", "none", "--", "true")
		}
		for _, job := range leftJobs(t, p, tmp) {
			p.run(0, "train", "--local", "--work-dir", tmp, "--resume", job)
			resumed++
		}
		p.run(0, "restore", set, set)
		if _, err := os.Stat(filepath.Join(p.home, set, "model.tar.gz")); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d of %d were resumed", resumed, kills)
	p.run(0, "train", "--local", "d", "--work-dir", tmp, "--output", "none", "--", "true")
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// leftJobs are those that have results left.
func leftJobs(t *testing.T, p *place, dir string) (jobs []string) {
	t.Helper()
	out, _ := p.run(0, "jobs", "local", "--json", "--work-dir", dir)
	for line := range strings.Lines(out) {
		var e struct{ Event, Job, Folder string }
		check(t, json.Unmarshal([]byte(line), &e))
		if e.Event == "job" && filepath.Dir(e.Folder) == dir {
			jobs = append(jobs, e.Job)
		}
	}
	return jobs
}

// All jobs of a sweep that end together seal their models.
func TestLocalJobsThatEndTogether(t *testing.T) {
	race.Skip(t, "it starts many processes")
	t.Parallel()
	p := newPlace(t)
	write(t, filepath.Join(p.home, "src", "a"), []byte("a"))
	p.run(0, "push", "src", "-d", "d")
	const jobs = 6
	var wg sync.WaitGroup
	ready := make(chan bool, jobs)
	for range jobs {
		wg.Go(func() {
			cmd := p.command("train", "--local", "d", "--", "sh", "-c", "echo m >$SM_MODEL_DIR/m; echo ready; while [ ! -e go ]; do sleep 0.02; done")
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Error(err)
				ready <- false
				return
			}
			io.ReadFull(out, make([]byte, 6))
			ready <- true
			io.Copy(io.Discard, out)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, errs.String())
			}
		})
	}
	for range jobs {
		<-ready
	}
	write(t, filepath.Join(p.home, "go"), nil)
	wg.Wait()
	out, _ := p.run(0, "versions", "d-models")
	says(t, out, fmt.Sprintf("   %d  20", jobs))
}

// The checkpoints and the output of a job that fails, or is stopped before it has a model,
// are kept, and do not take the place of a model.
func TestLocalJobsWithoutModel(t *testing.T) {
	race.Skip(t, "it starts many processes")
	p := newPlace(t)
	write(t, filepath.Join(p.home, "src", "a"), []byte("a"))
	p.run(0, "push", "src", "-d", "d")
	const made = "echo 1 >$SM_MODEL_DIR/../checkpoints/epoch-1; echo log >$SM_OUTPUT_DATA_DIR/log; "
	p.run(exitFailed, "train", "--local", "d", "--", "sh", "-c", made+"echo m >$SM_MODEL_DIR/m; exit 3")
	p.run(exitFailed, "train", "--local", "d", "--output", "failed", "--", "sh", "-c", made+"echo m >$SM_MODEL_DIR/m; exit 3")
	cmd := p.command("train", "--local", "d", "--output", "stopped", "--", "sh", "-c", made+"echo ready; exec sleep 60")
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	io.ReadFull(out, make([]byte, 6))
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	io.Copy(io.Discard, out)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	p.run(0, "restore", "d-models-unfinished", "sealed")
	for dir, model := range map[string]bool{"failed": true, "stopped": false, "sealed": true} {
		for file, want := range map[string]bool{"checkpoints/epoch-1": true, "output.tar.gz": true, "failed-model.tar.gz": model, "model.tar.gz": false} {
			if _, err := os.Stat(filepath.Join(p.home, dir, file)); (err == nil) != want {
				t.Errorf("%s/%s: %v", dir, file, err)
			}
		}
	}
	if out, _ := p.run(0, "ls"); strings.Contains(out, "d-models ") {
		t.Errorf("a job without a model has made one:\n%s", out)
	}
}

// What the caller has the process ignore stays ignored.
func TestNohupStaysInForce(t *testing.T) {
	p := newPlace(t)
	write(t, filepath.Join(p.home, "src", "a"), []byte("a"))
	p.run(0, "push", "src", "-d", "d")
	train := p.command("train", "--local", "d", "--output", "out", "--", "sh", "-c", "echo ready; sleep 1; echo m >$SM_MODEL_DIR/m")
	cmd := p.command()
	cmd.Path = "/bin/sh"
	cmd.Args = append([]string{"sh", "-c", `trap '' HUP INT; exec "$@"`, "sh", train.Path}, train.Args[1:]...)
	cmd.Env = train.Env
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	io.ReadFull(out, make([]byte, 6))
	check(t, cmd.Process.Signal(syscall.SIGHUP))
	check(t, cmd.Process.Signal(syscall.SIGINT))
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil || !strings.Contains(string(rest), "completed") {
		t.Errorf("%v\n%s", err, rest)
	}
}
