package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// waitFor waits until a file exists that the pattern names.
func waitFor(t *testing.T, pattern string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return
		}
	}
	t.Fatalf("nothing is there as %s", pattern)
}

// A signal while the data is being opened ends the process, with the exit code that a shell
// gives, and the command is not started; the same again opens all of it. A signal
// afterwards is the command's, and so is its exit code: it is the same process.
func TestOpenIsStopped(t *testing.T) {
	race.Skip(t, "a process that is killed reports no race")
	t.Parallel()
	p := newPlace(t)
	src := filepath.Join(p.home, "src")
	for i := range 32 {
		write(t, filepath.Join(src, fmt.Sprint(i)), treetest.Bytes(2<<20, byte(i)))
	}
	check(t, os.Mkdir(filepath.Join(src, "closed"), 0o755))
	write(t, filepath.Join(src, "closed", "file"), []byte("contents"))
	check(t, os.Chmod(filepath.Join(src, "closed"), 0o500))
	p.run(0, "push", "-q", src, "-d", "d")
	started := filepath.Join(p.home, "started")
	script := `trap "exit 9" TERM; echo $$ >started.new; mv started.new started; while :; do sleep .02; done`
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGTERM, 143}, {syscall.SIGINT, 130}, {syscall.SIGKILL, -1}} {
		dir := filepath.Join(p.home, fmt.Sprint("out", int(c.signal)))
		cmd := p.command("open", "d", dir, "--", "sh", "-c", script)
		check(t, cmd.Start())
		waitFor(t, filepath.Join(dir, ".vaultpack-restore-*"))
		check(t, cmd.Process.Signal(c.signal))
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.signal, code, c.code)
		}
		if _, err := os.Stat(started); err == nil {
			t.Fatalf("%v: the command was started", c.signal)
		}
		again := p.command("open", "d", dir, "--", "sh", "-c", script)
		check(t, again.Start())
		waitFor(t, started)
		pid, err := os.ReadFile(started)
		check(t, err)
		if string(pid) != fmt.Sprintln(again.Process.Pid) {
			t.Errorf("the command is process %s, started was %d", pid, again.Process.Pid)
		}
		check(t, again.Process.Signal(syscall.SIGTERM))
		again.Wait()
		if code := again.ProcessState.ExitCode(); code != 9 {
			t.Errorf("the command's exit code was 9, and there is %d", code)
		}
		for _, d := range treetest.Differences(src, dir) {
			if d[:4] != `"." ` {
				t.Errorf("%v: %s", c.signal, d)
			}
		}
		check(t, os.Remove(started))
		check(t, os.RemoveAll(dir))
	}
}
