package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"
)

func TestInput(t *testing.T) {
	want := make([]byte, 3<<20+7)
	rand.Read(want)
	for _, r := range []io.Reader{bytes.NewReader(want), iotest.HalfReader(bytes.NewReader(want)), iotest.DataErrReader(bytes.NewReader(want))} {
		got, err := io.ReadAll(newInput(t.Context(), r))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
		}
	}
	broken := errors.New("broken")
	if _, err := io.ReadAll(newInput(t.Context(), iotest.ErrReader(broken))); err != broken {
		t.Errorf("an error of the stream: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe() // nobody writes
	defer w.Close()
	in := newInput(ctx, r)
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := in.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("a read after the end of the context: %v", err)
	}
}

// A signal ends what waits for its input at once, and what it has started with it.
func TestSignalWhileInputIsWaitedFor(t *testing.T) {
	p := newPlace(t)
	p.run(0, "init")
	for _, args := range [][]string{
		{"push", "-", "-d", "d"},
		{"encrypt", "-o", "sealed"},
		{"decrypt", "-o", "open"},
		{"push", "-d", "d", "--from-command", "--", "sh", "-c", "head -c 1 >/dev/null; sleep 60 | cat"},
	} {
		cmd := exec.Command(p.binary, args...)
		cmd.Dir, cmd.Env = p.home, p.env
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = r, &text, &text
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("v")); err != nil {
			t.Fatal(err)
		}
		for left := 1; left > 0; time.Sleep(time.Millisecond) { // until it has been read, and more is waited for
			if left, err = unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ); err != nil {
				t.Fatal(err)
			}
		}
		cmd.Process.Signal(syscall.SIGTERM)
		began := time.Now()
		cmd.Wait()
		if code, took := cmd.ProcessState.ExitCode(), time.Since(began); code != exitInterrupted || took > 30*time.Second {
			t.Errorf("%q: exit code %d after %v: %s", args, code, took, &text)
		}
		r.Close()
		w.Close()
	}
}
