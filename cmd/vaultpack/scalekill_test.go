package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/race"
)

// scans makes a source of some packs for each of the shards, and a plan of it.
func (p *place) scans(shards int) (src, plan string) {
	p.t.Helper()
	src = filepath.Join(p.home, "scans")
	for i := range 4 * shards {
		write(p.t, filepath.Join(src, fmt.Sprintf("%02d", i%13), fmt.Sprint(i)), bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 5000))
	}
	return src, p.plan(src, "-d", "d", "--shards", fmt.Sprint(shards), "--pack-size", "16KiB", "--checksum")
}

// wholeVersion tests that there is one version of the source, with nothing missing and
// nothing twice, and that a collection leaves nothing beside it.
func (p *place) wholeVersion(src string) {
	p.t.Helper()
	out, _ := p.run(exitDone, "versions", "d")
	if n := strings.Count(out, "digest"); n != 1 {
		p.t.Errorf("there are several versions:\n%s", out)
	}
	p.run(exitDone, "verify", "d", "--against", src)
	p.run(exitDone, "gc", "d", "--grace", "0s")
	out, _ = p.run(exitDone, "verify", "d", "--json")
	vault := filepath.Join(p.home, ".local/share/vaultpack/vault")
	if _, err := os.Stat(vault); err != nil {
		vault = filepath.Join(p.home, "vault")
	}
	packs, err := os.ReadDir(filepath.Join(vault, "d/packs"))
	check(p.t, err)
	if want := fmt.Sprintf(`"packs_of_version":%d,`, len(packs)); !strings.Contains(out, want) || len(packs) == 0 {
		p.t.Errorf("after gc there are %d packs: %s", len(packs), out)
	}
	for _, folder := range []string{"plans", "pending"} {
		if left, err := os.ReadDir(filepath.Join(vault, "d", folder)); err == nil && len(left) > 0 {
			p.t.Errorf("in %s is left: %v", folder, left)
		}
	}
}

// killing runs a command for each shard, four at a time, as an engine does: a third of them
// are killed at a random moment, and run again.
func killing(t *testing.T, shards int, command func(n int) *exec.Cmd) {
	t.Helper()
	var mu sync.Mutex
	killed := 0
	work := func(n int, kill time.Duration) bool {
		cmd := command(n)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Error(err)
			return true
		}
		if kill > 0 {
			time.AfterFunc(kill, func() { cmd.Process.Kill() })
		}
		err := cmd.Wait()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			mu.Lock()
			killed++
			mu.Unlock()
			return false
		}
		if err != nil {
			t.Errorf("shard %d: %v\n%s", n, err, &out)
		}
		return true
	}
	queue := make(chan int, shards)
	for _, n := range rand.Perm(shards) {
		queue <- n
	}
	close(queue)
	var engine sync.WaitGroup
	for range 4 {
		engine.Go(func() {
			for n := range queue {
				kill := time.Duration(0)
				if n%3 == 0 {
					kill = time.Duration(20+rand.IntN(400)) * time.Millisecond
				}
				for !work(n, kill) {
					kill = 0
				}
			}
		})
	}
	engine.Wait()
	t.Logf("%d of %d workers were killed", killed, shards)
}

// Whichever workers are killed, what they make is whole, and so is what they restore to one
// folder.
func TestKilledWorkers(t *testing.T) {
	race.Skip(t, "a process that is killed reports no race")
	const shards = 24
	p := newPlace(t)
	src, plan := p.scans(shards)
	killing(t, shards, func(n int) *exec.Cmd {
		return p.at(fmt.Sprint("VAULTPACK_SHARD=", n)).command("work", plan, "--commit")
	})
	p.wholeVersion(src)
	out := filepath.Join(p.home, "out")
	killing(t, 9, func(n int) *exec.Cmd {
		return p.at(fmt.Sprint("VAULTPACK_SHARD=", n)).command("restore", "d", out, "--shard", "env/9")
	})
	p.run(exitDone, "verify", "d", "--against", out)
	if left, err := filepath.Glob(filepath.Join(out, ".vaultpack-*")); err != nil || len(left) > 0 {
		t.Errorf("%q is left, %v", left, err)
	}
}

// An array of 200 tasks on Slurm, of which 60 are killed at random moments and one node is
// drained in between, makes one whole version.
func TestScaleSlurmKills(t *testing.T) {
	race.Skip(t, "a process that is killed reports no race")
	const tasks, kills = 200, 60
	p := newPlace(t)
	p.env = append(p.env, "SLURM_CONF="+slurm(t))
	src, plan := p.scans(tasks)
	script, err := os.ReadFile(filepath.Join(scale, "slurm.sbatch"))
	check(t, err)
	program(t, filepath.Join(p.home, "slurm.sbatch"), string(script))
	sh := func(command string) (string, error) {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir, cmd.Env = p.home, append(slices.Clone(p.env), "PLAN="+plan)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	job, err := sh(fmt.Sprintf("sbatch --parsable --mem=0 --cpus-per-task=1 --array=0-%d --export=ALL slurm.sbatch", tasks-1))
	if err != nil {
		t.Fatalf("%s: %v", job, err)
	}
	began, killed, requeued, drained := time.Now(), map[string]bool{}, 0, false
	for end := began.Add(15 * time.Minute); ; time.Sleep(time.Duration(20+rand.IntN(150)) * time.Millisecond) {
		if time.Now().After(end) {
			out, _ := sh("squeue; sinfo; tail -n 3 upload-*.log | tail -60")
			t.Fatalf("the array does not end; %d of %d killed\n%s", len(killed), kills, out)
		}
		for pid, task := range workersOf(plan) {
			if len(killed) < kills && !killed[task] && rand.IntN(2) == 0 {
				if syscall.Kill(pid, syscall.SIGKILL) == nil {
					killed[task] = true
				}
			}
		}
		if !drained && len(killed) >= kills/2 {
			if out, err := sh("scontrol update nodename=n2 state=drain reason=test"); err != nil {
				t.Fatal(out)
			}
			drained = true
		}
		// Slurm requeues tasks of lost nodes by itself; those that have failed, and those that
		// wait for their time, on request.
		failed, _ := sh("squeue -h -r -t FAILED,NODE_FAIL,BOOT_FAIL,SPECIAL_EXIT -o %F_%K -j " + job)
		for _, task := range strings.Fields(failed) {
			if _, err := sh("scontrol requeue " + task); err == nil {
				requeued++
			}
		}
		sh("for t in $(squeue -h -r -t PENDING -o '%F_%K %r' -j " + job + " | grep BeginTime | cut -d' ' -f1); do scontrol update jobid=$t starttime=now; done")
		if out, err := sh("squeue -h -r -t PENDING,RUNNING,COMPLETING,FAILED -o %K -j " + job); err == nil && out == "" {
			break
		}
	}
	t.Logf("%d of %d tasks killed, %d requeued, in %v", len(killed), tasks, requeued, time.Since(began).Round(time.Second))
	if len(killed) < kills || !drained {
		t.Errorf("%d tasks were killed, drained: %v", len(killed), drained)
	}
	p.wholeVersion(src)
}

// workersOf returns the processes that work on a plan, with the task of each.
func workersOf(plan string) map[int]string {
	found := map[int]string{}
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range all {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		args, cerr := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err != nil || cerr != nil || !bytes.Contains(args, []byte("work\x00"+plan)) {
			continue
		}
		env, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || err != nil {
			continue
		}
		for v := range strings.SplitSeq(string(env), "\x00") {
			if task, ok := strings.CutPrefix(v, "SLURM_ARRAY_TASK_ID="); ok {
				found[pid] = task
			}
		}
	}
	return found
}
