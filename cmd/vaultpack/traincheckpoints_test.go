package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/race"
)

// A run that is killed at any moment loses no checkpoint: that which the command has written
// is what the next job begins with, once what was left is brought to its place; and what was
// only fetched never takes the place of anything.
func TestKilledLocalJobsLoseNoCheckpoint(t *testing.T) {
	race.Skip(t, "a process that is killed reports no race")
	t.Parallel()
	p := newPlace(t)
	tmp := filepath.Join(p.home, "tmp")
	check(t, os.Mkdir(tmp, 0o700))
	write(t, filepath.Join(p.home, "src", "a"), []byte("a"))
	p.run(0, "push", "src", "-d", "d")
	const script = `cd ${SM_MODEL_DIR%/model}/checkpoints; n=$(cat n 2>/dev/null || echo 0); echo "read $n"; [ $n = 0 ] || [ -f padding ] || echo torn
		echo $((n+1)) >next; echo x >padding; mv next n; echo "wrote $((n+1))"; sleep 0.1; exit $((n%2))`
	write(t, filepath.Join(p.home, "count.sh"), []byte(script))
	kills, resumed, want := 20, 0, 0
	if testing.Short() {
		kills = 4
	}
	// Kills come within the time that a run takes here.
	began := time.Now()
	p.run(0, "train", "--local", "d", "--checkpoints", "ckpt", "--output", "none", "--work-dir", tmp, "--", "sleep", "0.1")
	window := max(450*time.Millisecond, time.Since(began))
	for _, place := range []string{"ckpt", "./ckpt"} {
		want = 0
		for i := range kills {
			cmd := p.command("train", "--local", "d", "--checkpoints", place, "--output", "none", "--work-dir", tmp, "--", "sh", "count.sh")
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			check(t, cmd.Start())
			time.Sleep(rand.N(window))
			cmd.Process.Kill()
			cmd.Wait()
			if cmd.ProcessState.ExitCode() == exitUsage {
				t.Fatal(errs.String())
			}
			for line := range strings.Lines(out.String()) {
				what, number, _ := strings.Cut(strings.TrimSpace(line), " ")
				n, _ := strconv.Atoi(number)
				switch {
				case what == "torn", what == "read" && n != want && n != want+1:
					t.Fatalf("%s, %d: %q, want %d", place, i, line, want)
				case what == "wrote":
					want = n
				}
			}
			for _, job := range leftJobs(t, p, tmp) {
				p.run(0, "train", "--local", "--work-dir", tmp, "--resume", job)
				resumed++
			}
		}
		// What was written may have been so before it could be told.
		out, _ := p.run(0, "train", "--local", "d", "--checkpoints", place, "--output", "none", "--work-dir", tmp, "--", "sh", "-c", "cat ${SM_MODEL_DIR%/model}/checkpoints/n || echo 0")
		if n, err := strconv.Atoi(strings.Fields(out)[0]); err != nil || n != want && n != want+1 || n == 0 && !testing.Short() {
			t.Errorf("%s: %q at the end, want %d", place, out, want)
		}
	}
	t.Logf("%d of %d were resumed", resumed, 2*kills)
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
