package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// A place is a home of its own, in which vaultpack runs as a process.
type place struct {
	t    testing.TB
	home string
	env  []string
	// binary and attr are those of this user, or else of an unprivileged one.
	binary string
	attr   *syscall.SysProcAttr
}

func newPlace(t testing.TB) *place {
	home := t.TempDir()
	return &place{t: t, home: home, binary: "vaultpack", env: append(os.Environ(), "HOME="+home, "VAULTPACK_HOME="+home)}
}

func (p *place) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.binary, args...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = p.env, p.home, p.attr
	return cmd
}

// run runs vaultpack to its end, and wants the exit code.
func (p *place) run(want int, args ...string) (stdout, stderr string) {
	p.t.Helper()
	cmd := p.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		p.t.Fatalf("vaultpack %q: exit code %d, want %d\n%s%s", args, got, want, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// A summary is the last object of an upload's --json.
type summary struct {
	Event                                               string
	Packs                                               int
	Version                                             int
	Committed                                           bool
	SentFiles, SentBytes, ResumedFiles, ResumedBytes    int64
	SealedBytes, Bytes, Files, Failed, Skipped, Removed int64
}

func (p *place) upload(args ...string) summary {
	p.t.Helper()
	out, _ := p.run(0, append([]string{"push", "--json"}, args...)...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var s summary
	last := strings.ReplaceAll(lines[len(lines)-1], "_", "")
	if err := json.Unmarshal([]byte(last), &s); err != nil || s.Event != "summary" {
		p.t.Fatalf("the last line is %s: %v", last, err)
	}
	return s
}

func (p *place) packs(dataset string) int {
	files, _ := filepath.Glob(filepath.Join(p.home, "vault", dataset, "packs", "*.vpk"))
	return len(files)
}

// Whenever an upload is killed, the same command completes it, sends only what
// was in flight again, and never is a segment sealed under a key and salt that
// served another.
func TestKilledUploads(t *testing.T) {
	race.Skip(t, "a process that is killed reports no race")
	t.Parallel()
	const kills = 12
	const packSize = 1 << 20
	src := t.TempDir()
	treetest.Odd(t, src, packSize)
	treetest.NoSetID(t, src)
	for i := range 12 {
		name := filepath.Join(src, fmt.Sprintf("large/%02d", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, treetest.Bytes(int64(i)<<19+5, 9), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{src, "-d", "d", "--pack-size", "1MiB"}

	// Once without a kill, to know how long it takes and how many packs it makes.
	clean := newPlace(t)
	began := time.Now()
	want := clean.upload(args...)
	whole := time.Since(began)

	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	killed, resumed, again := 0, 0, 0
	for killed < kills {
		p := newPlace(t)
		log := filepath.Join(p.home, "salts")
		p.env = append(p.env, "TEST_SALT_LOG="+log)
		for range 1 + rng.IntN(3) {
			at := time.Duration(rng.Int64N(int64(whole) * 11 / 10))
			cmd := p.command(append([]string{"push", "-q"}, args...)...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(at)
			cmd.Process.Kill()
			cmd.Wait()
			if !cmd.ProcessState.Success() {
				killed++
			}
		}
		before := p.packs("d")
		s := p.upload(args...)
		if s.ResumedBytes > 0 {
			resumed++
		}
		if s.Bytes != want.Bytes || s.Version != 1 {
			t.Fatalf("after a kill: %d bytes in version %d, want %d in 1", s.Bytes, s.Version, want.Bytes)
		}
		// What is in the vault now, beyond what a clean run makes, was sent twice:
		// packs that were finished and not yet recorded. Those are few.
		extra := before + s.Packs - want.Packs
		again += max(extra, 0)
		out := filepath.Join(p.home, "out")
		p.run(0, "restore", "d", out)
		treetest.Equal(t, src, out)
		p.run(0, "verify", "d")
		checkSalts(t, log)
		// The leases of those that were killed are for gc, which closes a number then.
		p.run(0, "gc", "d", "--grace", "0s", "--end-uploads")
		p.run(0, "verify", "d")
		for _, left := range []string{"pending", "*/.tmp-*"} {
			if found, _ := filepath.Glob(filepath.Join(p.home, "vault", "d", left)); len(found) > 0 {
				t.Errorf("left behind: %q", found)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d kills in %v long uploads of %d packs: %d runs went on from a record, %d packs were sent twice", killed, whole, want.Packs, resumed, again)
	if resumed == 0 {
		t.Error("no run went on from a record")
	}
	if limit := killed * want.Packs / 6; again > limit {
		t.Errorf("%d packs were sent twice in %d kills, over %d", again, killed, limit)
	}
}

// checkSalts reads what saltLog has written.
func checkSalts(t *testing.T, log string) {
	t.Helper()
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pairs, places := map[string]bool{}, map[string]bool{}
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		pair, place := fields[0]+fields[1], fields[0]+fields[2]
		if pairs[pair] {
			t.Fatalf("a salt was used twice under one key: %s", s.Text())
		}
		// One attempt to write seals each of its segments once.
		if places[place] {
			t.Fatalf("a segment was sealed twice in one object: %s", s.Text())
		}
		pairs[pair], places[place] = true, true
	}
	if len(pairs) == 0 {
		t.Fatal("no salt was logged")
	}
}

// An interrupt ends an upload in good order, and the same command continues.
func TestInterrupt(t *testing.T) {
	src := t.TempDir()
	for i := range 40 {
		if err := os.WriteFile(filepath.Join(src, fmt.Sprint(i)), treetest.Bytes(8<<20, byte(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p := newPlace(t)
		cmd := p.command("push", src, "-d", "d", "--pack-size", "8MiB")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for p.packs("d") < 3 {
			time.Sleep(time.Millisecond)
		}
		cmd.Process.Signal(sig)
		cmd.Wait()
		if cmd.ProcessState.ExitCode() != exitInterrupted || !strings.Contains(errs.String(), "interrupted; nothing is lost") {
			t.Fatalf("%v: exit code %d\n%s", sig, cmd.ProcessState.ExitCode(), errs.String())
		}
		if s := p.upload(src, "-d", "d", "--pack-size", "8MiB"); s.ResumedFiles < 2 {
			t.Errorf("%v: %d files were resumed", sig, s.ResumedFiles)
		}
		p.run(0, "verify", "d", "--against", src)
	}
}
