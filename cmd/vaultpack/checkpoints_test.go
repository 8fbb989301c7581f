package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A job on spot instances that is interrupted resumes from checkpoints that are sealed in S3,
// and finishes; checkpoints get opens them, and nothing that somebody has changed.
func TestSealedCheckpoints(t *testing.T) {
	t.Parallel()
	j := newJobsCloud(t)
	const command = `c=/opt/ml/checkpoints; if [ -e $c/state ]; then echo resumed from $(cat $c/state); exec "$@" ; fi; ` +
		`echo the secret epoch 1 >$c/state; ln -s state $c/latest; echo began; trap 'echo the secret epoch 2 >$c/state; exit 0' TERM; while :; do sleep 0.1; done`
	train := script(t, "--epochs", "8", "--least-accuracy", "0.9")
	j.train(0, append([]string{"--name", "spot", "--spot", "--seal-checkpoints", "--", "sh", "-c", command, "sh"}, train[1:]...)...)
	for began := time.Now(); !slices.Contains(j.sm.Logs("spot"), "began"); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("%q", j.sm.Logs("spot"))
		}
	}
	check(t, j.sm.Interrupt("spot"))
	out, errs := j.run(0, "logs", "spot", "--follow")
	says(t, out, "resumed from the secret epoch 2", "test accuracy=0.9")
	says(t, errs, "Interrupted")
	var names []string
	for _, name := range j.under("_vaultpack/jobs/digits/spot/") {
		if bytes.Contains(j.get(name), []byte("secret")) {
			t.Errorf("%s is in the clear", name)
		}
		if strings.Contains(name, "/checkpoints/algo-1/0") {
			names = append(names, name)
		}
	}
	out, _ = j.run(0, "checkpoints", "get", "spot", "c")
	says(t, out, "of host algo-1", "2 files", "checkpoints of job spot in c")
	if got := string(read(t, filepath.Join(j.home, "c", "latest"))); got != "the secret epoch 2\n" {
		t.Errorf("there is %q", got)
	}
	says(t, j.runs(exitUsage, "checkpoints", "get", "nothing", "x"), "no sealed checkpoints of a job nothing")
	for _, name := range names {
		j.change(name)
	}
	j.runs(exitAuthentication, "checkpoints", "get", "spot", "x")
}
