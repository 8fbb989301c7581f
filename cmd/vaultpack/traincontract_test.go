package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
)

// A contractCase is a job that has to find and leave the same on this machine as in SageMaker.
// What it prints behind "out:" is compared, and so are the reason of its end, the exit code
// and the model. A case asks much: each takes two jobs.
type contractCase struct {
	fields      string            // of job.yaml
	files       map[string]string // beside it; what begins with -> is a link
	script      string            // the command's; without one the job is in script mode
	cloud, here []string          // flags for what lies in different places
	code        int
	says        string // in the end, in both
	hereSays    string
	stop        bool // when it has printed "out: begun"
	refused     bool // before anything is started
	runs        int  // one after the other; 0 is 1
}

// printConfig prints the files of the job's configuration.
const printConfig = `python3 -c 'import json
for f in "hyperparameters", "inputdataconfig", "resourceconfig":
    c = json.load(open("/opt/ml/input/config/" + f + ".json")); c.pop("network_interface_name", ""); print("out:", json.dumps(c, sort_keys=True))'
`

// untilTerm runs until SIGTERM, and then leaves a model.
const untilTerm = `import signal, sys, time
def stop(*a):
    time.sleep(0.2); open('/opt/ml/model/' + sys.argv[1], 'w').write('x'); print('out: saved', sys.argv[1], flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print('out:', sys.argv[2], flush=True); open('/opt/ml/input/' + sys.argv[1], 'w')
while True: time.sleep(0.1)
`

var contract = map[string]contractCase{
	"what a job finds": {fields: "dataset: none\nchannels: {train: {dataset: few@1}, more_1.x: {dataset: few}}\n" +
		"hyperparameters: {lr: 1.10, big: 12345678901234567890, none: ~, on: true, list: [1, {a: b}]}\nenvironment: {A: b c}\n",
		cloud: []string{"--channel", "labels=s3://BUCKET/labels,input_mode=FastFile,content_type=text/csv"}, here: []string{"--channel", "labels=s3://BUCKET/labels,input_mode=FastFile,content_type=text/csv"},
		files: map[string]string{"labels/l.txt": "one\n"},
		script: printConfig + `echo "out: $A $TRAINING_JOB_NAME $(hostname)"; cd /opt/ml/input/data; echo out: $(ls)
for c in train more_1.x labels; do echo out: $c $(find $c -type f | sort | xargs cat | sha256sum) $(find $c -type f | sort | sha256sum); done; cat labels/l.txt`},
	"a channel of one file": {cloud: []string{"--channel", "labels=s3://BUCKET/labels/l.txt"}, here: []string{"--channel", "labels=./labels/l.txt"},
		files: map[string]string{"labels/l.txt": "one\n"}, script: `cd /opt/ml/input/data/labels; echo out: $(find . | sort) $(cat l.txt)`},
	"what it leaves": {script: `cd /opt/ml/model; mkdir -p a/b e; echo 1 >a/b/f; ln -s a/b/f l; ln -s a d; ln -s nowhere n; ln -s /opt/ml/model/a/b/f abs; ln a/b/f hard; mkfifo p; chmod 755 a/b/f
echo 2 >/opt/ml/output/data/d; setsid sh -c 'trap "" TERM HUP; sleep 3; echo out: outlives the job' & sleep 0.2`},
	"nothing, and a reason for it": {script: `echo why >/opt/ml/output/failure`},
	"checkpoints": {cloud: []string{"--checkpoints", "s3://BUCKET/ckpt"}, here: []string{"--checkpoints", "s3://BUCKET/ckpt-here"}, runs: 2,
		script: `cd /opt/ml/checkpoints; mkdir -p d; echo "out: $(cat d/n) $(ls -A)"; echo x >>d/n; echo $(ls) >of-$(wc -l <d/n)`},
	"hosts and shards": {fields: "format: tar\ninstance_count: 2\n", script: printConfig +
		`h=$(hostname); echo out: $h $(getent hosts algo-1 algo-2 | wc -l); echo m >/opt/ml/model/of-$h; echo same >/opt/ml/model/same; cd /opt/ml/input/data/training; for f in *.tar; do echo out: $f $(tar tf $f | wc -l); done`},
	"a host that fails": {fields: "instance_groups: [{name: a, type: TYPE, count: 1}, {name: b, type: TYPE, count: 1}]\n",
		script: `case $(hostname) in algo-2) ` + printConfig + `echo why >/opt/ml/output/failure; sleep 0.5; exit 3;; esac; trap 'exit 0' TERM; while :; do sleep 0.1; done`,
		code:   exitFailed, says: "AlgorithmError: why"},
	"isolation": {fields: "network_isolation: true\nkey_channel: KEY\n", script: `echo out: $(sed -n 's/^ *\([a-z0-9]*\):.*/\1/p' /proc/net/dev)`},

	"a shell script": {fields: "source: src\nentry: train.sh\nhyperparameters: {lr: 1.10, eps: 1e-8, big: 12345678901234567890, none: ~, on: true, k: v, s: it's \"q\" $x, empty: '', map: {b: ~, a: 1}, list: [1, '2']}\n",
		files: map[string]string{"src/train.sh": `for a; do echo "out: <$a>"; done
echo "out: $SM_HPS $SM_HP_LR $SM_HP_BIG $SM_HP_ON <$SM_HP_NONE> $SM_USER_ARGS $SM_CHANNELS $SM_HOSTS $SM_CURRENT_HOST"
echo "out: $0 $(ls -A) $(cat linked/f) $(readlink l) $(pwd)"`,
			"src/.git/config": "x", "src/.venv/lib/x.py": "x", "src/__pycache__/x.pyc": "x", "src/linked/f": "f", "src/l": "->linked/f"}},
	"a Python script": {fields: "source: src\nentry: t.py\nhyperparameters: {date: 2026-01-02, f: 1.0, off: false, nested: {x: [1, ~]}, ä: ö}\n",
		files: map[string]string{"src/requirements.txt": "", "src/t.py": `import os, sys, json
print("out:", sys.argv, json.loads(os.environ["SM_HPS"]), os.environ["SM_HP_DATE"], os.path.basename(os.environ["SM_CHANNEL_TRAINING"]))
`},
		hereSays: "requirements.txt is not installed here"},
	"a script that fails":      {fields: "source: src\nentry: train.sh\n", files: map[string]string{"src/train.sh": "exit 4"}, code: exitFailed, says: "AlgorithmError: , exit code: 4"},
	"a key in the source":      {fields: "source: src\nentry: t.sh\n", files: map[string]string{"src/t.sh": "echo out: started", "src/k": "SECRET"}, refused: true, says: "is a secret key of vaultpack"},
	"a link out of the source": {fields: "source: src\nentry: t.sh\n", files: map[string]string{"src/t.sh": "echo out: started", "src/l": "->../x"}, refused: true, says: "leads out of the source folder"},
	"no script in the source":  {fields: "source: src\nentry: t.sh\n", files: map[string]string{"src/x.sh": ""}, refused: true, says: "there is no script t.sh"},

	"a long reason in lines": {script: `echo m >/opt/ml/model/m; printf ' a\nb\t\303\n' >/opt/ml/output/failure; python3 -c 'print("é" * 2000)' >>/opt/ml/output/failure; exit 3`,
		code: exitFailed, says: "ééé, exit code: 3"},
	"a pipe as the reason": {script: `mkfifo /opt/ml/output/failure; exit 3`, code: exitFailed, says: "AlgorithmError: , exit code: 3"},
	"a link as the reason": {script: `ln -s /etc/hostname /opt/ml/output/failure; exit 3`, code: exitFailed, says: "AlgorithmError: , exit code: 3"},
	"a signal":             {script: `kill -9 $$`, code: exitFailed, says: "AlgorithmError: , exit code: 137"},
	"behind a shell": {fields: "max_runtime: 10\n", files: map[string]string{"save.py": untilTerm}, script: `python3 HOME/save.py script begun; echo out: not reached`,
		code: exitFailed, says: "MaxRuntimeExceeded"},
	"stopped, with a session of its own": {stop: true, files: map[string]string{"save.py": untilTerm},
		script: `setsid python3 HOME/save.py session there & until [ -e /opt/ml/input/session ]; do sleep 0.05; done; python3 HOME/save.py script begun; echo out: not reached`},
}

// The same jobs run on this machine and in SageMaker, as far as sagemakertest is that.
func TestTrainContract(t *testing.T) {
	j := newJobsAWS(t)
	toolkit, err := filepath.Abs("testdata/toolkit.py")
	check(t, err)
	for i := range 4 {
		write(t, filepath.Join(j.home, "few", fmt.Sprint(i)), bytes.Repeat([]byte{byte(i)}, 30<<10))
	}
	j.upload("few", "--pack-size", "64KiB")
	base := strings.Replace(string(read(t, filepath.Join(j.home, "job.yaml"))), "dataset: digits\n", "dataset: few\n", 1)
	secret := string(envelope.GenerateLocalKey().EncodeSecret())
	for name, c := range contract {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait a lot
			own := *j.cloud.place
			own.t, own.env = t, append(slices.Clone(own.env), "TEST_EVERY=150ms")
			cloud := *j.cloud
			cloud.place = &own
			r := &contractRun{t: t, jobsCloud: &jobsCloud{&cloud, j.sm}, c: c, id: "c-" + regexp.MustCompile(`[^a-zA-Z]+`).ReplaceAllString(name, "-"), toolkit: toolkit, secret: secret}
			r.writeFiles(base)
			for range max(c.runs, 1) {
				r.runs++
				r.both()
			}
		})
	}
}

// A contractRun runs a case in both worlds.
type contractRun struct {
	*jobsCloud
	t           *testing.T
	c           contractCase
	id, toolkit string
	secret      string // the text of a key
	runs        int
}

func (r *contractRun) file(name string) string { return filepath.Join(r.home, r.id, name) }

func (r *contractRun) writeFiles(base string) {
	typ := regexp.MustCompile(`instance_type: (.*)\n`).FindStringSubmatch(base)
	without := func(field string) {
		base = regexp.MustCompile(`(?m)^`+field+`: .*\n`).ReplaceAllString(base, "")
	}
	if strings.Contains(r.c.fields, "instance_groups: ") {
		without("instance_type")
	}
	if strings.HasPrefix(r.c.fields, "dataset: ") {
		without("dataset")
	}
	replace := strings.NewReplacer("TYPE", typ[1], "KEY", "arn:aws:kms:"+r.s3.KMSKey, "HOME", filepath.Join(r.home, r.id), "dataset: none\n", "")
	write(r.t, r.file("job.yaml"), []byte(base+replace.Replace(r.c.fields)))
	if r.c.script != "" {
		write(r.t, r.file("c.sh"), []byte(replace.Replace(r.c.script)))
	}
	bucket, prefix := r.object("")
	for name, content := range r.c.files {
		if target, ok := strings.CutPrefix(content, "->"); ok {
			check(r.t, os.MkdirAll(filepath.Dir(r.file(name)), 0o755))
			check(r.t, os.Symlink(target, r.file(name)))
			continue
		}
		write(r.t, r.file(name), []byte(strings.ReplaceAll(content, "SECRET", r.secret)))
		if strings.HasPrefix(name, "labels/") {
			r.put(name, []byte(content))
		}
	}
	for _, args := range [][]string{r.c.cloud, r.c.here} {
		for i, arg := range args {
			args[i] = strings.ReplaceAll(arg, "BUCKET", *bucket+"/"+strings.TrimSuffix(*prefix, "/"))
		}
	}
}

// both runs the job once in each world, and compares.
func (r *contractRun) both() {
	r.t.Helper()
	id := fmt.Sprintf("%s-%d", r.id, r.runs)
	args := func(name string, more []string, command ...string) []string {
		all := slices.Concat([]string{"train", "-f", "job.yaml", "--name", name}, more)
		if r.c.script != "" {
			command = []string{"sh", r.file("c.sh")}
		}
		if len(command) == 0 {
			return all
		}
		return slices.Concat(all, []string{"--"}, command)
	}
	cloudCode, hereCode := r.c.code, r.c.code
	switch {
	case r.c.stop:
		cloudCode, hereCode = exitFailed, exitInterrupted // another has stopped it; this process was
	case r.c.refused:
		cloudCode, hereCode = exitUsage, exitUsage
	}
	var cloudOut, cloudErrs, hereOut, hereErrs string
	var worlds sync.WaitGroup
	worlds.Go(func() {
		cloudOut, cloudErrs = r.in(cloudCode, func(*exec.Cmd) { r.command("stop", id).Run() },
			args(id, append(slices.Clone(r.c.cloud), "--wait", "--logs"), "python3", r.toolkit)...)
	})
	worlds.Go(func() {
		hereOut, hereErrs = r.in(hereCode, func(cmd *exec.Cmd) { cmd.Process.Signal(syscall.SIGTERM) },
			args(id+"-l", append(slices.Clone(r.c.here), "--local", "--output", "out"))...)
	})
	worlds.Wait()
	hereOut, hereErrs = strings.ReplaceAll(hereOut, id+"-l", id), strings.ReplaceAll(hereErrs, id+"-l", id)
	if cloud, here := outLines(cloudOut), outLines(hereOut); !slices.Equal(cloud, here) {
		r.t.Errorf("in SageMaker\n%s\nhere\n%s", strings.Join(cloud, "\n"), strings.Join(here, "\n"))
	}
	if cloud, here := failureIn(cloudErrs), failureIn(hereErrs); cloud != here {
		r.t.Errorf("the reason in SageMaker is %q, and here %q", cloud, here)
	}
	says(r.t, cloudErrs, r.c.says)
	says(r.t, hereErrs, r.c.says)
	says(r.t, hereErrs, r.c.hereSays)
	// A failed job has no model; here it has one under another name.
	var local []byte
	if f := r.file("out/model.tar.gz"); exists(f) {
		local = read(r.t, f)
	}
	var cloud []byte
	for _, name := range r.under("_vaultpack/jobs/") {
		if strings.HasSuffix(name, "/"+id+"/output/model.tar.gz") {
			cloud = r.get(name)
		}
	}
	if cloud, here := archived(r.t, cloud), archived(r.t, local); !slices.Equal(cloud, here) {
		r.t.Errorf("the model in SageMaker %q, here %q", cloud, here)
	}
}

// in, which any goroutine may call, runs vaultpack in the case's folder, and calls stop once the job has begun if the case
// says so.
func (r *contractRun) in(want int, stop func(*exec.Cmd), args ...string) (stdout, stderr string) {
	r.t.Helper()
	cmd := r.command(args...)
	cmd.Dir = filepath.Join(r.home, r.id)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	pipe, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		r.t.Error(err)
		return "", ""
	}
	var out strings.Builder
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		fmt.Fprintln(&out, lines.Text())
		if r.c.stop && strings.Contains(lines.Text(), "out: begun") {
			stop(cmd)
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != want {
		r.t.Errorf("vaultpack %q: %v, want exit code %d\n%s%s", args, err, want, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// failureIn is the reason that SageMaker gives for a failure, as it was printed.
func failureIn(errs string) string {
	_, text, _ := strings.Cut(errs, "AlgorithmError: ")
	text, _, _ = strings.Cut(text, "\n")
	return strings.Join(strings.Fields(text), " ")
}

// outLines are the lines that the scripts print to be compared, of all hosts.
func outLines(s string) (lines []string) {
	for line := range strings.Lines(s) {
		if strings.Contains(line, "out:") {
			line = strings.ReplaceAll(line, `"code","training"`, `"training"`) // the source comes in a channel there
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	slices.Sort(lines)
	return lines
}

// archived are the files of a model, and what is in them.
func archived(t *testing.T, b []byte) (files []string) {
	t.Helper()
	if len(b) == 0 {
		return nil
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	check(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			slices.Sort(files)
			return files
		}
		check(t, err)
		if strings.HasPrefix(h.Name, ".vaultpack") { // the statement names its job
			continue
		}
		content, err := io.ReadAll(r)
		check(t, err)
		files = append(files, fmt.Sprintf("%s %s %v %s", h.Name, h.Linkname, h.FileInfo().Mode(), content))
	}
}
