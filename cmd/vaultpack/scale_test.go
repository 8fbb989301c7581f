package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/vaultpack/vaultpack/internal/race"
)

const scale = "../../examples/scale"

// The manifests have no fields that Kubernetes does not have, the kustomization names all
// of them, and the page shows each.
func TestScaleManifests(t *testing.T) {
	page, err := os.ReadFile("../../docs/SCALE.md")
	check(t, err)
	files, err := os.ReadDir(scale)
	check(t, err)
	var found []string
	for _, f := range files {
		if !strings.Contains(string(page), "](../examples/scale/"+f.Name()+")") {
			t.Errorf("docs/SCALE.md does not show %s", f.Name())
		}
		if !strings.HasSuffix(f.Name(), ".yaml") || f.Name() == "kustomization.yaml" {
			continue
		}
		found = append(found, f.Name())
		b, err := os.ReadFile(filepath.Join(scale, f.Name()))
		check(t, err)
		var v map[string]any
		check(t, yaml.Unmarshal(b, &v))
		checkFields(t, f.Name(), v["kind"].(string), v)
	}
	b, err := os.ReadFile(filepath.Join(scale, "kustomization.yaml"))
	check(t, err)
	var k struct{ Resources []string }
	check(t, yaml.Unmarshal(b, &k))
	if slices.Sort(k.Resources); !slices.Equal(k.Resources, found) || len(found) != 2 {
		t.Errorf("the kustomization has %q of %q", k.Resources, found)
	}
}

// What the pods of the Job and the tasks of the array run makes a version, as processes
// with the environment of Kubernetes and Slurm.
func TestScaleExamplesRun(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t)
	src := filepath.Join(p.home, "scans")
	for i := range 12 {
		write(t, filepath.Join(src, fmt.Sprint(i)), []byte(strings.Repeat("x", 3000)))
	}
	_, pods := manifests(t, "../scale/kubernetes-job.yaml")
	if len(pods) != 1 || len(pods[0].Containers) != 1 {
		t.Fatalf("the Job has %d pods", len(pods))
	}
	work := func(plan string, n int) {
		t.Helper()
		args := slices.Clone(pods[0].Containers[0].Args)
		args[slices.Index(args, "PLAN")] = plan
		p.at(fmt.Sprint("JOB_COMPLETION_INDEX=", n)).run(exitDone, args...)
	}
	plan := p.plan(src, "-d", "d", "--shards", "3")
	for n := range 3 {
		work(plan, n)
	}
	p.run(exitDone, "verify", "d", "--against", src)

	script, err := filepath.Abs(filepath.Join(scale, "slurm.sbatch"))
	check(t, err)
	plan = p.plan(src, "-d", "e", "--shards", "2")
	for n := range 2 {
		cmd := exec.Command("bash", script)
		cmd.Dir, cmd.Env = p.home, append(slices.Clone(p.env), "PLAN="+plan, fmt.Sprint("SLURM_ARRAY_TASK_ID=", n))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("task %d: %v\n%s", n, err, out)
		}
	}
	p.run(exitDone, "verify", "e", "--against", src)
}

// A real array of Slurm, of which a task is requeued while it runs.
func TestScaleSlurm(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t)
	p.env = append(p.env, "SLURM_CONF="+slurm(t))
	src := filepath.Join(p.home, "scans")
	for i := range 40 {
		write(t, filepath.Join(src, fmt.Sprint(i)), []byte(strings.Repeat("x", 20000)))
	}
	plan := p.plan(src, "-d", "d", "--shards", "4", "--pack-size", "16KiB")
	script, err := os.ReadFile(filepath.Join(scale, "slurm.sbatch"))
	check(t, err)
	program(t, filepath.Join(p.home, "slurm.sbatch"), string(script))
	sh := func(command string) string {
		t.Helper()
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir, cmd.Env = p.home, append(slices.Clone(p.env), "PLAN="+plan)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	job := sh("sbatch --parsable --mem=0 --cpus-per-task=1 --array=0-3 --export=ALL slurm.sbatch")
	sh("scontrol requeue " + job + "_1 || true")
	sh("for i in $(seq 400); do for t in 0 1 2 3; do scontrol update jobid=" + job + "_$t starttime=now 2>/dev/null || true; done; " +
		"vaultpack ls d >/dev/null 2>&1 && break; sleep .2; done")
	out := sh("cat upload-*.log")
	if !strings.Contains(out, "dataset  d, version 1") {
		t.Fatalf("%s\n%s", sh("scontrol show job "+job), out)
	}
	p.run(exitDone, "verify", "d", "--against", src)
}
