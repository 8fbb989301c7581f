package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var launch = []string{"train", "-f", "job.yaml"}

// What is printed is what is sent, and printing sends and writes nothing.
func TestTrainPrint(t *testing.T) {
	t.Parallel()
	c, sm := trainingCloud(t)
	before := len(c.objects())
	out, errs := c.run(0, append(launch, "--name", "a", "--print", "--channel", "labels=s3://labels/x", "-p", "lr=0.1", "--", "python3", "-c", "print()")...)
	says(t, errs, "warning: channel labels is not encrypted by vaultpack")
	jobs := 0
	if sm.set(func() { jobs = len(sm.jobs) }); jobs > 0 || len(c.objects()) != before {
		t.Error("printing has sent or written something")
	}
	c.run(0, append(launch, "--name", "a", "--channel", "labels=s3://labels/x", "-p", "lr=0.1", "--", "python3", "-c", "print()")...)
	var sent []byte
	var err error
	sm.set(func() { sent, err = json.Marshal(sm.jobs["a"]) })
	check(t, err)
	var printed any
	check(t, json.Unmarshal([]byte(out), &printed))
	again, err := json.Marshal(printed)
	check(t, err)
	if string(again) != string(sent) {
		t.Errorf("printed %s\nsent    %s", again, sent)
	}
	says(t, string(sent), `"python3","-c","print()"]`, `"S3OutputPath":"`+c.url+`/_vaultpack/jobs/texts"`)
	// A command of the image's own needs no code of this machine: what the job
	// has in the vault is the record of its launch, its key for signing, and
	// the manifest that brings both.
	var own []string
	for name := range c.objects() {
		if of, is := strings.CutPrefix(name, "_vaultpack/jobs/texts/a/"); is {
			own = append(own, of)
		} else if strings.HasPrefix(name, "_vaultpack/jobs/") {
			t.Errorf("%s: not in the folder of the job", name)
		}
	}
	slices.Sort(own)
	if !slices.Equal(own, []string{"launch.json", "signing.vpk", "vaultpack.manifest"}) {
		t.Errorf("the job has %q in the vault", own)
	}
	// Nobody takes what jobs need for a dataset.
	if out, _ := c.run(0, "ls"); strings.Count(out, "\n") != 1 {
		t.Error(out)
	}
	c.run(0, "gc", "texts", "--grace", "0s")
	// gc leaves what the job has, and what helps to start one.
	if n := len(c.objects()); n != before+2+len(own) {
		t.Errorf("%d objects, want %d", n, before+2+len(own))
	}
}

// Every end of a job has its exit code, and its output is shown to the last line.
func TestTrainWait(t *testing.T) {
	t.Parallel()
	c, sm := trainingCloud(t)
	run := func(want int, steps string, args ...string) (string, string) {
		t.Helper()
		sm.set(func() { sm.steps, sm.at, sm.hold = strings.Fields(steps), 0, 0 })
		return c.run(want, append(append(launch, args...), "--", "train.sh")...)
	}
	out, errs := run(0, "Starting Training Completed", "--name", "good", "--logs")
	says(t, out, "first line\nlast line\n", "model    s3://models/good/output/model.tar.gz", "completed good after ", ", 42 s billed")
	says(t, errs, "Training  now Training", "channel  training: texts@1, ")
	if strings.Count(out, "first line") != 1 {
		t.Error(out)
	}
	if strings.Contains(out, "spot") {
		t.Error(out)
	}
	sm.set(func() { sm.spot = true })
	out, _ = c.run(0, "logs", "good", "--follow")
	says(t, out, "metric   loss 0.1\nmetric   lr NaN\n", ", 42 s billed, 65 % saved by spot")
	out, _ = c.run(0, "logs", "good", "--follow", "--json")
	says(t, out, `"spot_saved_percent":65`, `"metrics":[{"name":"loss","value":0.1},{"name":"lr"}]`)
	sm.set(func() { sm.spot = false })
	sm.set(func() { sm.reason = "AlgorithmError: it broke, exit code: 4" })
	_, errs = run(1, "Starting Failed", "--name", "bad", "--wait")
	says(t, errs, "vaultpack: the job bad has ended with the status Failed: AlgorithmError: it broke, exit code: 4")
	sm.set(func() { sm.reason = "" })
	_, errs = run(1, "Starting Training MaxRuntimeExceeded", "--name", "long", "--wait")
	says(t, errs, "the status Stopped (MaxRuntimeExceeded)")

	out, _ = c.run(0, "jobs")
	says(t, out, "bad  ", "good  ", "1m30s")
	out, _ = c.run(0, "jobs", "--json")
	says(t, out, `"job":"good"`)
	out, _ = c.run(0, "logs", "good")
	says(t, out, "first line\nlast line\n")
	long := `{"metrics":"` + strings.Repeat("é", 5000) + `"}`
	sm.set(func() { sm.lines = []string{"first line", "\x1b[32mlast\x1b[0m line", long} })
	out, _ = c.run(0, "logs", "good")
	says(t, out, "first line\nlast line\n"+long+"\n")
	out, _ = c.run(0, "logs", "good", "--json", "--since", "2023-11-14T22:13:20.001Z") // that of the second line
	says(t, out, `"text":"last line"`, `"text":`+strconv.Quote(long))
	if strings.Contains(out, "first line") {
		t.Error(out)
	}
	_, errs = c.run(0, "logs", "good", "--since", "10m")
	says(t, errs, "good has written nothing yet in that time")
	c.run(exitUsage, "logs", "good", "--since", "yesterday")
	c.run(exitUsage, "logs", "good", "--since", "-1h")
	_, errs = c.run(1, "logs", "nowhere")
	says(t, errs, "there is no such job")
	_, errs = c.run(1, "logs", "nowhere", "--follow")
	says(t, errs, "there is no such job")
	if strings.Contains(errs, "continues") {
		t.Error(errs)
	}
	sm.set(func() { sm.busy = 4 }) // the SDK gives up after three
	c.run(1, "logs", "good", "--follow")
	sm.set(func() {
		if sm.busy != 0 {
			t.Errorf("the wait has left %d of the throttled looks", sm.busy)
		}
	})
	_, errs = c.run(1, "stop", "nowhere")
	says(t, errs, "there is no such job")

	sm.set(func() { sm.deny = "CreateTrainingJob" })
	_, errs = run(exitNotAllowed, "Starting", "--name", "denied")
	says(t, errs, "the permission sagemaker:CreateTrainingJob on arn:aws:sagemaker:eu-west-1:111122223333:training-job/denied is missing")
	sm.set(func() { sm.deny = "ListTrainingJobs" })
	c.run(exitNotAllowed, "jobs")
}

// Whoever stops waiting is told that the job continues, and how to follow and stop it.
func TestTrainDetach(t *testing.T) {
	t.Parallel()
	c, sm := trainingCloud(t)
	sm.set(func() { sm.hold = 3 })
	cmd := c.command(append(launch, "--name", "a", "--wait", "--", "train.sh")...)
	var errs strings.Builder
	cmd.Stderr = &errs
	check(t, cmd.Start())
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		at := 0
		if sm.set(func() { at = sm.at }); at >= 3 {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("it does not look at the job")
		}
	}
	check(t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != exitInterrupted || cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("exit code %d", got)
	}
	says(t, errs.String(), "interrupted; the job a continues.", "logs a --follow", "stop a")

	out, _ := c.run(1, "logs", "a", "--follow", "--timeout", "100ms")
	says(t, out, "first line")
	c.run(0, "stop", "a", "--wait")
	stopped := false
	if sm.set(func() { stopped = sm.stopped }); !stopped {
		t.Error("not stopped")
	}
	out, told := c.run(0, "stop", "a")
	says(t, told, "a has ended already: it is Stopped")
	if strings.Contains(out, "stopping") {
		t.Error(out)
	}
	out, _ = c.run(0, "stop", "a", "--json")
	says(t, out, `"status":"Stopped"`)
	_, follow := c.run(1, "logs", "a", "--follow")
	says(t, follow, "the status Stopped")
}

// The key channel is there while the job needs it, and gone afterwards: once it
// trains, or, where it may start again, once it has ended.
func TestTrainKeyChannel(t *testing.T) {
	t.Parallel()
	c, sm := trainingCloud(t)
	isolated := append(launch, "--network-isolation", "--key-channel", "arn:aws:kms:"+c.s3.KMSKey)
	keys := func(job string) (n int) {
		for name := range c.objects() {
			if strings.HasPrefix(name, "_vaultpack/jobs/texts/"+job+"/key/") {
				n++
			}
		}
		return n
	}
	_, errs := c.run(0, append(isolated, "--name", "a", "--", "train.sh")...)
	says(t, errs, "warning: a key that opens the data lies in S3", "removed the job's key from S3")
	if n := keys("a"); n != 0 {
		t.Errorf("%d objects of the key are left", n)
	}
	at := 0
	if sm.set(func() { at = sm.at }); at != 3 { // Training
		t.Errorf("removed at step %d", at)
	}
	sm.set(func() { sm.at, sm.hold = 0, 3 })
	_, errs = c.run(1, append(isolated, "--name", "b", "--spot", "--wait", "--timeout", "1s", "--", "train.sh")...)
	says(t, errs, "until it ends, since it may start again", "Its key still lies in S3")
	if n := keys("b"); n != 2 {
		t.Errorf("%d objects of the key while it may start again", n)
	}
	sm.set(func() { sm.hold = 0 })
	c.run(0, "logs", "b", "--follow")
	if n := keys("b"); n != 0 {
		t.Errorf("%d objects of the key are left", n)
	}
	_, errs = c.run(exitUsage, append(launch, "--network-isolation")...)
	says(t, errs, "--network-isolation: network_isolation: a job without network cannot ask AWS KMS")
	if b, err := os.ReadFile(filepath.Join(c.home, "job.yaml")); err != nil || strings.Contains(string(b), "key") {
		t.Errorf("%s, %v", b, err)
	}
}
