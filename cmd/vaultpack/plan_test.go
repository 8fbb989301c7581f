package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/internal/race"
)

// plan makes a plan, and returns its name.
func (p *place) plan(args ...string) string {
	p.t.Helper()
	out, _ := p.run(exitDone, append([]string{"plan", "--json"}, args...)...)
	var s struct{ Plan string }
	lines := strings.Split(strings.TrimSpace(out), "\n")
	check(p.t, json.Unmarshal([]byte(lines[len(lines)-1]), &s))
	return s.Plan
}

// at returns the place with more in its environment.
func (p *place) at(env ...string) *place {
	q := *p
	q.env = append(append([]string(nil), p.env...), env...)
	return &q
}

// Workers that engines number make what one machine makes; each of them may commit.
func TestPlanWorkCommit(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t)
	src := filepath.Join(p.home, "src")
	for i := range 60 {
		write(t, filepath.Join(src, fmt.Sprintf("c%d", i%3), fmt.Sprintf("s%02d.jpg", i)), []byte(strings.Repeat("x", 100*i)))
		write(t, filepath.Join(src, fmt.Sprintf("c%d", i%3), fmt.Sprintf("s%02d.cls", i)), []byte("1"))
	}
	p.run(exitDone, "push", "-d", "alone", "--checksum", src)
	plan := p.plan(src, "-d", "d", "--shards", "6", "--checksum", "--pack-size", "16KiB")
	name, _, _ := strings.Cut(plan, "#")
	_, errs := p.run(exitFailed, "commit", plan)
	for _, want := range []string{"6 of the 6 shards of the plan " + name + " are not finished: 0, 1, 2, 3, 4, 5", "commit " + name + " --partial"} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in:\n%s", want, errs)
		}
	}
	_, errs = p.run(exitFailed, "gc", "d", "--grace", "0s")
	if !strings.Contains(errs, "plan give-up "+name) {
		t.Error(errs)
	}
	engines := []string{"SLURM_ARRAY_TASK_ID=0", "JOB_COMPLETION_INDEX=1", "AWS_BATCH_JOB_ARRAY_INDEX=2", "OMPI_COMM_WORLD_RANK=3", "RANK=4", "VAULTPACK_SHARD=5"}
	var wg sync.WaitGroup
	for _, env := range append(engines, engines[0], engines[5]) { // two of them run twice
		wg.Go(func() { p.at(env).run(exitDone, "work", plan, "--commit", "--message", "from six") })
	}
	wg.Wait()
	_, errs = p.at("RANK=1", "JOB_COMPLETION_INDEX=2").run(exitUsage, "work", plan)
	if !strings.Contains(errs, "JOB_COMPLETION_INDEX says that this is shard 2, and RANK says 1") {
		t.Error(errs)
	}
	p.at("RANK=1").run(exitDone, "work", plan, "--shard", "2") // which was finished before
	p.run(exitUsage, "work", plan)
	p.run(exitFailed, "work", plan, "--shard", "6")
	p.run(exitUsage, "work", "d")
	p.run(exitUsage, "work", plan+"0", "--shard", "1")
	p.run(exitAuthentication, "work", strings.Replace(plan, "#", "#0", 1)[:len(plan)], "--shard", "1")
	out, _ := p.run(exitDone, "commit", plan)
	if !strings.Contains(out, "version 1 was made of the plan before") {
		t.Error(out)
	}
	out, _ = p.run(exitDone, "plan", "status", plan)
	if !strings.Contains(out, "6 done") || !strings.Contains(out, "ended") {
		t.Error(out)
	}
	if a, b := contents(p, "alone"), contents(p, "d"); a != b || len(a) < 1000 {
		t.Errorf("the workers have made\n%s\nand one machine\n%s", b, a)
	}
	p.run(exitDone, "verify", "d", "--against", src)
	out, _ = p.run(exitDone, "push", "-d", "d", src)
	if !strings.Contains(out, "nothing has changed since version 1") {
		t.Error(out)
	}
	p.run(exitDone, "gc", "d", "--grace", "0s")
	if left, err := os.ReadDir(filepath.Join(p.home, ".local/share/vaultpack/vault/d/plans")); err == nil && len(left) > 0 {
		t.Errorf("of the plan %v is left", left)
	}
	_, errs = p.run(exitFailed, "commit", plan)
	if !strings.Contains(errs, "no such plan") {
		t.Error(errs)
	}
}

// contents lists what the newest version has, with the digest of all contents.
func contents(p *place, name string) string {
	p.t.Helper()
	out, _ := p.run(exitDone, "ls", "-r", name)
	more, _ := p.run(exitDone, "statement", name)
	var s struct{ Predicate struct{ Tree string } }
	check(p.t, json.Unmarshal([]byte(more), &s))
	return out + s.Predicate.Tree
}

// A source that is not as it was planned fails its shard; what is finished becomes a
// version, and the next plan sends the rest.
func TestPlanOfAnotherSource(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t)
	src := filepath.Join(p.home, "src")
	for i := range 20 {
		write(t, filepath.Join(src, fmt.Sprintf("%02d", i)), []byte(strings.Repeat("x", 5000)))
	}
	plan := p.plan(src, "-d", "d", "--shards", "2", "--pack-size", "16KiB")
	name, _, _ := strings.Cut(plan, "#")
	p.run(exitDone, "work", plan, "--shard", "0")
	write(t, filepath.Join(src, "15"), []byte("another"))
	_, errs := p.run(exitFailed, "work", plan, "--shard", "1")
	for _, want := range []string{`shard 1 of the plan ` + name, `"15" has 7 bytes, and had 5000`, "commit " + name + " --partial", "plan give-up " + name} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in:\n%s", want, errs)
		}
	}
	out, _ := p.run(exitDone, "plan", "status", plan)
	if !strings.Contains(out, "1 done, 0 running, 0 stale, 1 failed") || !strings.Contains(out, "had 5000") {
		t.Error(out)
	}
	out, _ = p.run(exitDone, "commit", plan, "--partial")
	if !strings.Contains(out, "missing  1 shard: this version is incomplete") {
		t.Error(out)
	}
	out, _ = p.run(exitDone, "versions", "d")
	if !strings.Contains(out, "partial: 1 of 2 shards are missing") || !strings.Contains(out, "incomplete: 10 missing") {
		t.Error(out)
	}
	p.run(exitDone, "plan", "give-up", plan)
	_, errs = p.run(exitFailed, "work", plan, "--shard", "1")
	if !strings.Contains(errs, "the plan has ended") {
		t.Error(errs)
	}
	again := p.plan(src, "-d", "d", "--shards", "2", "--pack-size", "16KiB")
	for n := range 2 {
		out, _ := p.run(exitDone, "work", again, "--json", "--shard", fmt.Sprint(n))
		if sent := strings.Contains(out, `"sent_files":0`); sent != (n == 0) {
			t.Errorf("shard %d of the next plan: %s", n, out)
		}
	}
	p.run(exitDone, "commit", again)
	p.run(exitDone, "verify", "d", "--against", src)
	p.run(exitDone, "gc", "d", "--grace", "0s")
}

// A file that is added after the plan changes its folder, and is noticed.
func TestPlanNoticesNewFiles(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	p := newPlace(t)
	src := filepath.Join(p.home, "src")
	write(t, filepath.Join(src, "a"), []byte("a"))
	old := time.Now().Add(-time.Hour)
	check(t, os.Chtimes(src, old, old))
	plan := p.plan(src, "-d", "d", "--shards", "1")
	write(t, filepath.Join(src, "b"), []byte("b"))
	_, errs := p.run(exitFailed, "work", plan, "--shard", "0")
	if !strings.Contains(errs, "the folder itself has other files") {
		t.Error(errs)
	}
	p.run(exitFailed, "work", plan, "--shard", "0", "--source", filepath.Join(p.home, "none"))
}

// The same in a bucket, with data keys and signatures of KMS, and on machines that know
// nothing of the dataset.
func TestPlanInBucket(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	s := awstest.New("eu-central-1")
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.AddBucket("my-bucket", awstest.Bucket{})
	env := []string{"AWS_ENDPOINT_URL=" + h.URL, "AWS_REGION=" + s.Region, "AWS_ACCESS_KEY_ID=admin", "AWS_SECRET_ACCESS_KEY=x",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_CA_BUNDLE=", "VAULTPACK_VAULT="}
	p := newPlace(t).at(env...)
	p.run(exitDone, "init", "--vault", "s3://my-bucket/ml", "--yes", "--adopt", "--user", "me")
	settings, err := os.ReadFile(filepath.Join(p.home, "vaultpack.yaml"))
	check(t, err)
	src := filepath.Join(p.home, "src")
	for i := range 12 {
		write(t, filepath.Join(src, fmt.Sprint(i)), []byte(strings.Repeat("x", 9000)))
	}
	for range 2 { // of a new dataset, and of what has changed
		plan := p.plan(src, "-d", "d", "--shards", "3", "--pack-size", "16KiB")
		var wg sync.WaitGroup
		for i := range 5 { // two of the shards twice
			worker := newPlace(t).at(env...)
			write(t, filepath.Join(worker.home, "vaultpack.yaml"), settings)
			wg.Go(func() {
				out, errs := worker.run(exitDone, "work", plan, "--shard", fmt.Sprint(i%3))
				// One for the data key, one for the public key, one signature.
				if strings.Contains(out, "is finished") && !strings.Contains(out, " 3 calls to KMS") {
					t.Errorf("%s%s", out, errs)
				}
			})
		}
		wg.Wait()
		p.run(exitDone, "commit", plan)
		p.run(exitDone, "verify", "d", "--against", src)
		write(t, filepath.Join(src, "5"), []byte("another"))
	}
	p.run(exitDone, "gc", "d", "--grace", "0s")
	p.run(exitDone, "verify", "d")
}
