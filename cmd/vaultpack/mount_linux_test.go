//go:build !386 && !arm

package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// newMountPlace is a place with a dataset, where a mount is possible.
func newMountPlace(t *testing.T) *place {
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("VAULTPACK_FUSE") == "1" {
			t.Fatalf("VAULTPACK_FUSE says that there is FUSE: %v", err)
		}
		t.Skipf("NOT TESTED: a mount, which takes root and /dev/fuse: %v", err)
	}
	p := newPlace(t)
	write(t, filepath.Join(p.home, "scans", "a", "one.txt"), []byte("one"))
	write(t, filepath.Join(p.home, "scans", "large"), bytes.Repeat([]byte("large"), 1<<20))
	p.run(exitDone, "push", "-q", "./scans")
	return p
}

// A command runs with the mount, and its exit code is that of mount. At its end nothing is
// mounted any more, and the folder that was made is removed.
func TestMountWithCommand(t *testing.T) {
	p := newMountPlace(t)
	out, said := p.run(exitDone, "mount", "scans", "m", "--", "sh", "-c", "diff -r scans m && echo $VAULTPACK_OPENED $VAULTPACK_HOME")
	if !strings.HasPrefix(out, "scans@1#") || strings.Count(out, "\n") != 1 || strings.Contains(out, p.home) {
		t.Errorf("the command has written %q", out)
	}
	if strings.Contains(said, "mounted") {
		t.Errorf("it says %q", said)
	}
	if _, err := os.Lstat(filepath.Join(p.home, "m")); err == nil {
		t.Error("the folder is still there")
	}
	p.run(7, "mount", "scans", "m", "--", "sh", "-c", "exit 7")
	p.run(128+15, "mount", "scans", "m", "--", "sh", "-c", "kill -TERM $$")
	p.run(exitNoCommand, "mount", "scans", "m", "--", "no-such-command")
	p.run(exitUsage, "mount", "scans", "m", "--")
	p.run(exitUsage, "mount", "scans", "m", "--memory", "1MiB")
	p.run(exitUsage, "mount", "scans", "")
	if _, said := p.run(exitFailed, "mount", "scans", "scans", "--", "true"); !strings.Contains(said, "is not empty") {
		t.Errorf("a folder that is not empty: %s", said)
	}
	if _, said := p.run(exitFailed, "mount", "scans", "scans/large", "--", "true"); !strings.Contains(said, "is not a folder") {
		t.Errorf("a file: %s", said)
	}
	// What is told by a signal, the command is told.
	cmd := p.command("mount", "scans", "m", "--", "sh", "-c", "trap 'ls m/a; exit 9' TERM; echo ready; while :; do sleep 0.01; done")
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	check(t, cmd.Process.Signal(syscall.SIGTERM))
	if lines.Scan(); lines.Text() != "one.txt" {
		t.Errorf("the command says %q", lines.Text())
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("exit code %d", code)
	}
}

// A mount stays until a signal ends it, which is no failure.
func TestMountUntilStopped(t *testing.T) {
	p := newMountPlace(t)
	events, summaries := documented(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		cmd := p.command("mount", "scans", "m", "--json")
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			name, err := checkEvent(events, summaries, lines.Text())
			if err != nil {
				t.Errorf("%s: %v", lines.Text(), err)
			}
			if name == "mounted" {
				if b, err := os.ReadFile(filepath.Join(p.home, "m/a/one.txt")); err != nil || string(b) != "one" {
					t.Errorf("%q, %v", b, err)
				}
				check(t, cmd.Process.Signal(sig))
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", sig, err)
		}
		if _, err := os.Lstat(filepath.Join(p.home, "m")); err == nil {
			t.Error("the folder is still there")
		}
	}
}

// What was tampered with gives the reader an error, is told with its path, and is the exit
// code, although the command that has read it did not mind.
func TestMountTampered(t *testing.T) {
	p := newMountPlace(t)
	packs, err := filepath.Glob(filepath.Join(p.home, ".local/share/vaultpack/vault/scans/packs/*"))
	check(t, err)
	if len(packs) == 0 {
		packs, err = filepath.Glob(filepath.Join(p.home, "*/*/packs/*"))
		check(t, err)
	}
	if len(packs) == 0 {
		t.Fatal("no packs")
	}
	for _, pack := range packs {
		b, err := os.ReadFile(pack)
		check(t, err)
		for off := 100; off < len(b); off += 16_000 {
			b[off] ^= 1
		}
		check(t, os.WriteFile(pack, b, 0o644))
	}
	out, said := p.run(exitAuthentication, "mount", "scans", "m", "--", "sh", "-c", "cat m/a/one.txt; cat m/large | head -c 4; true")
	if out != "" || !strings.Contains(said, "Input/output error") || !strings.Contains(said, "failed: a/one.txt: ") {
		t.Errorf("%q, %s", out, said)
	}
}
