package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A processing job reads plain files, and what it writes is a version of a dataset: nothing
// of it was in S3 in the clear, nor under its name.
func TestProcessEndToEnd(t *testing.T) {
	t.Parallel()
	j := newJobsAWS(t)
	const script = `import os, sys
out = "/opt/ml/processing/output/small"
for folder, _, names in os.walk("/opt/ml/processing/input/training"):
    for name in sorted(names)[:3]:
        if name.endswith(".png"):
            to = os.path.join(out, os.path.basename(folder), "secret-" + os.environ["MARK"] + name)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            open(to, "wb").write(open(os.path.join(folder, name), "rb").read())
os.symlink("0/" + sorted(os.listdir(out + "/0"))[0], out + "/link")
open(os.path.join(os.path.dirname(out), "report", "report.txt"), "w").write("the report of " + sys.argv[1])
print("made", sum(len(n) for _, _, n in os.walk(out)), "files")
`
	write(t, filepath.Join(j.home, "src/make.py"), []byte(script))
	write(t, filepath.Join(j.home, "process.yaml"), append(read(t, filepath.Join(j.home, "job.yaml")),
		"source: src\nentry: make.py\nenvironment: {MARK: x-}\nmax_runtime: 1h\noutputs: {small: digits-small, report: reports}\ntags: {project: digits}\n"...))
	process := func(want int, args ...string) string {
		t.Helper()
		return j.runs(want, append([]string{"process", "-f", "process.yaml"}, args...)...)
	}
	got := process(0, "--name", "one", "--wait", "--logs", "--", "python3", "make.py", "one")
	says(t, got, "made 31 files", "sealed output small: 31 files", "output   small is version 1 of dataset digits-small: 31 files", "output   report is version 1 of dataset reports: 1 file", "completed one after")
	j.run(0, "restore", "digits-small", "small")
	if names, err := filepath.Glob(filepath.Join(j.home, "small", "*", "secret-x-*.png")); err != nil || len(names) != 30 {
		t.Errorf("%d files in the dataset, %v", len(names), err)
	}
	if b := read(t, filepath.Join(j.home, "small/link")); !bytes.HasPrefix(b, []byte("\x89PNG")) {
		t.Error("the link has not become the file")
	}
	if _, err := os.Stat(filepath.Join(j.home, "small/.vaultpack")); err == nil {
		t.Error("what vaultpack has added is in the dataset")
	}
	for _, name := range j.under("_vaultpack/jobs/") {
		if strings.Contains(name, "secret") || bytes.Contains(j.get(name), []byte("the report of")) || bytes.Contains(j.get(name), []byte("PNG")) {
			t.Errorf("%s shows the output", name)
		}
	}
	says(t, j.runs(0, "models", "digits@1"), "one")

	// It is committed once, by whoever does it first, also later and elsewhere.
	says(t, j.runs(0, "process", "--resume", "one"), "output   small is version 1 of dataset digits-small already")
	says(t, process(0, "--name", "later", "--", "python3", "make.py", "later"), "launched later", "logs later --processing --follow", "process --resume later")
	says(t, j.runs(0, "logs", "later", "--processing", "--follow"), "made 31 files", "completed later")
	says(t, j.runs(0, "jobs", "--processing"), "later", "one", "Completed")
	says(t, j.runs(1, "logs", "later"), "there is no such job")
	j.outputsRefused(t)
	says(t, j.runs(0, "process", "--resume", "later"), "output   small is version 2 of dataset digits-small", "output   report is version 2")
	j.run(0, "cat", "reports", "report.txt")

	// Two hosts, without network, each with its share.
	got = process(0, "--name", "two", "--instance-count", "2", "--distribution", "ShardedByS3Key", "--network-isolation", "--key-channel", j.newKey(), "--", "sh", "-c",
		`h=$(hostname); ls /opt/ml/processing/input/training/* | grep png >/opt/ml/processing/output/small/$h.txt; echo $h >/opt/ml/processing/output/report/$h; test ! -e /opt/ml/processing/input/vaultpack-key/local.key`)
	says(t, got, "removed the job's key from S3", "output   small is version 3 of dataset digits-small: 2 files")
	out, _ := j.run(0, "cat", "digits-small", "algo-1.txt")
	more, _ := j.run(0, "cat", "digits-small", "algo-2.txt")
	if n := strings.Count(out+more, "png"); n != 1000 {
		t.Errorf("the hosts had %d files", n)
	}

	// Nothing is stored of a command that fails, stopped or not, and nothing in the clear of one
	// whose output cannot be sealed.
	for name, c := range map[string]struct{ script, want string }{
		"fails": {`echo x >/opt/ml/processing/output/small/x; exit 3`, "has ended with the status Failed"},
		"pipe":  {`mkfifo /opt/ml/processing/output/small/x`, "is not a file"},
	} {
		says(t, process(1, "--name", name, "--wait", "--", "sh", "-c", c.script), c.want)
		if left := j.under("_vaultpack/jobs/digits/" + name + "/output/"); len(left) > 0 {
			t.Errorf("%s has stored %q", name, left)
		}
		says(t, j.runs(1, "process", "--resume", name), "has ended with the status Failed")
	}
	process(0, "--name", "stopped", "--", "sh", "-c", `trap "exit 0" TERM; echo begun; while :; do sleep 0.1; done`)
	says(t, j.runs(0, "stop", "stopped", "--processing", "--wait"), "stopped stopped after")
	j.asksOnly(t, "PROCESSING.md")
	says(t, j.runs(exitUsage, "process", "digits", "--local"), "open it, run the command and push what it has written: vaultpack open DATASET")
}

// outputsRefused changes what the job later has stored: nothing of it is committed.
func (j *jobsCloud) outputsRefused(t *testing.T) {
	of := func(job, output string) string {
		return "_vaultpack/jobs/digits/" + job + "/output/" + output + "/algo-1.vpk"
	}
	small := j.get(of("later", "small"))
	for name, b := range map[string][]byte{
		"another job's": j.get(of("one", "small")), "another output": j.get(of("later", "report")), "cut short": small[:len(small)-100], "nothing": nil,
	} {
		j.put(of("later", "small"), b)
		if code, out := j.try("process", "--resume", "later"); code != exitAuthentication || !strings.Contains(out, "output small") || strings.Contains(out, "small is version") {
			t.Errorf("%s: exit code %d\n%s", name, code, out)
		}
	}
	j.put(of("later", "small"), small)
	if out, _ := j.run(0, "versions", "digits-small"); strings.Contains(out, "\n2 ") {
		t.Errorf("a version was made:\n%s", out)
	}
}

// asksOnly holds that all which has been asked of SageMaker and of its logs is among the
// permissions that the page names.
func (j *jobsCloud) asksOnly(t *testing.T, page string) {
	t.Helper()
	_, permissions, _ := strings.Cut(string(read(t, filepath.Join("..", "..", "docs", page))), "\n## Permissions\n")
	permissions, _, _ = strings.Cut(permissions, "\n## ")
	for _, c := range j.sm.Calls() {
		if c.Error == "" && !strings.Contains(permissions, "`sagemaker:"+c.Operation+"`") && !strings.Contains(permissions, "`logs:"+c.Operation+"`") {
			t.Errorf("%s does not name the permission for %s", page, c.Operation)
		}
	}
}
