package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/s3test"
)

// A job that is stopped has SIGTERM and time to save its model, which is kept; a
// second signal ends it at once. No plaintext is left either way.
func TestTrainLocalStopped(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	tmp := filepath.Join(p.home, "tmp")
	check(t, os.Mkdir(tmp, 0o700))
	write(t, filepath.Join(p.home, "src", "a"), []byte("a"))
	p.run(0, "push", "src", "-d", "d")
	for _, c := range []struct {
		script  string
		signals int
		model   bool
	}{
		{`trap 'echo saved >$SM_MODEL_DIR/m; exit 0' TERM; sleep 60 & echo ready; wait`, 1, true},
		{`trap '' TERM; echo ready; sleep 60; sleep 60`, 2, false},
	} {
		cmd := p.command("train", "--local", "d", "--work-dir", tmp, "--", "sh", "-c", c.script)
		out, err := cmd.StdoutPipe()
		check(t, err)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		check(t, cmd.Start())
		ready := make([]byte, 6)
		out.Read(ready)
		// A shell that has forked and not yet begun the other program may lose a signal.
		time.Sleep(300 * time.Millisecond)
		began := time.Now()
		for range c.signals {
			check(t, cmd.Process.Signal(syscall.SIGTERM))
			time.Sleep(200 * time.Millisecond)
		}
		rest := new(bytes.Buffer)
		rest.ReadFrom(out)
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); string(ready) != "ready\n" || code != exitInterrupted || time.Since(began) > 20*time.Second {
			t.Errorf("%q, exit code %d after %v\n%s", ready, code, time.Since(began), errs.String())
		}
		if got := strings.Contains(rest.String(), "model    sealed as dataset d-models"); got != c.model {
			t.Errorf("model sealed: %v\n%s", got, rest.String())
		}
		if left, _ := os.ReadDir(tmp); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	}
	// What a killed run leaves, the next one removes.
	cmd := p.command("train", "--local", "d", "--work-dir", tmp, "--", "sh", "-c", "echo ready; exec sleep 60")
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	out.Read(make([]byte, 6))
	check(t, cmd.Process.Kill())
	if left, _ := os.ReadDir(tmp); len(left) != 1 {
		t.Errorf("a killed run left %v", left)
	}
	// Its job has ended with it: nothing holds the pipe any more.
	if _, err := out.Read(make([]byte, 1)); err == nil {
		t.Error("the job of a killed run goes on")
	}
	cmd.Wait()
	p.run(0, "train", "--local", "d", "--work-dir", tmp, "--output", "none", "--", "true")
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// The sealed objects come from S3 and the key from KMS.
func TestTrainLocalCloud(t *testing.T) {
	t.Parallel()
	c := newCloud(t, s3test.MinIO(t, false))
	src := filepath.Join(c.home, "src")
	mixed(t, src, 30)
	c.run(0, "push", src, "-d", "d", "--pack-size", "256KiB")
	c.kmsCalls()
	out, _ := c.run(0, "train", "--local", "d", "--", "sh", "-c", `diff -r "$0" $SM_CHANNEL_TRAINING && echo same && cp $SM_CHANNEL_TRAINING/large $SM_MODEL_DIR`, src)
	says(t, out, "same\n", "sealed as dataset d-models, version 1")
	if got := c.kmsCalls(); got != "Decrypt Decrypt GenerateDataKey" {
		t.Errorf("calls to KMS: %s", got)
	}
	c.run(0, "restore", "d-models", "models")
	if _, err := os.Stat(filepath.Join(c.home, "models", "model.tar.gz")); err != nil {
		t.Error(err)
	}
}
