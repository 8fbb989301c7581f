package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/trainer/sagemakertest"
)

const (
	trainingRole = "arn:aws:iam::111122223333:role/training"
	principal    = "arn:aws:iam::111122223333:user/u" // to KMS
)

// realBinary is the static vaultpack-run for containers, as make binaries makes it. It
// lies beside the program that the tests run, and goes with it.
var realBinary = sync.OnceValues(func() (string, error) {
	self, err := exec.LookPath("vaultpack")
	if err != nil {
		return "", err
	}
	file := filepath.Join(filepath.Dir(self), "static", "vaultpack-run")
	cmd := exec.Command("go", "build", "-o", file, "../vaultpack-run")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return file, nil
})

// jobsCloud is a cloud with the dataset of digits in many packs, and a SageMaker
// that runs jobs.
type jobsCloud struct {
	*cloud
	sm *sagemakertest.Server
}

func newJobsCloud(t *testing.T) *jobsCloud {
	t.Helper()
	canRunJobs(t)
	c := newCloud(t, s3test.MinIO(t, false))
	c.kms.SetPrincipal(c.s3.AccessKey, principal)
	return jobsOn(t, c)
}

// newJobsAWS is like newJobsCloud, on the AWS in process: nothing has to be built for it.
func newJobsAWS(t *testing.T) *jobsCloud {
	t.Helper()
	canRunJobs(t)
	aws := awstest.New("us-east-1")
	h := httptest.NewServer(aws)
	t.Cleanup(h.Close)
	aws.AddBucket("jobs", awstest.Bucket{})
	c := &cloud{place: newPlace(t), s3: &s3test.Server{URL: h.URL, Region: aws.Region, AccessKey: "admin", SecretKey: "x"}, kms: aws.KMS, url: "s3://jobs/data"}
	c.arn = c.newKey()
	c.s3.KMSKey = c.newKey()
	c.env = append(c.env, "AWS_REGION="+aws.Region, "AWS_ACCESS_KEY_ID=admin", "AWS_SECRET_ACCESS_KEY=x", "AWS_ENDPOINT_URL_S3="+h.URL, "AWS_ENDPOINT_URL_KMS="+h.URL,
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	c.configure(c.url, "kms_key: "+c.s3.KMSKey)
	return jobsOn(t, c)
}

func canRunJobs(t *testing.T) {
	t.Helper()
	race.Skip(t, "what runs in a container is not built for the race detector; TestTrainWait and its like are")
	if err := sagemakertest.Available(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no job can be run here: %v", err)
		}
		t.Skipf("no job can be run here: %v", err)
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("there is no python3 here")
	}
}

// jobsOn uploads the dataset of digits, and starts the SageMaker.
func jobsOn(t *testing.T, c *cloud) *jobsCloud {
	t.Helper()
	var kms, region string
	for _, e := range c.env {
		if v, ok := strings.CutPrefix(e, "AWS_ENDPOINT_URL_KMS="); ok {
			kms = v
		}
		if v, ok := strings.CutPrefix(e, "AWS_REGION="); ok {
			region = v
		}
	}
	srv, err := sagemakertest.Start(sagemakertest.Config{S3: c.s3.URL, S3Region: c.s3.Region,
		Roles: map[string]aws.Credentials{trainingRole: {AccessKeyID: c.s3.AccessKey, SecretAccessKey: c.s3.SecretKey}},
		Env:   map[string]string{"AWS_ENDPOINT_URL_KMS": kms, "AWS_REGION": region, "TMPDIR": t.TempDir()},
		Pause: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	binary, err := realBinary()
	if err != nil {
		t.Fatal(err)
	}
	c.env = append(c.env, "AWS_ENDPOINT_URL_SAGEMAKER="+srv.URL, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS="+srv.URL, "TEST_EVERY=50ms")
	digits, err := filepath.Abs("../../testdata/dataset")
	check(t, err)
	c.upload(digits, "-d", "digits", "--pack-size", "64KiB")
	c.kmsCalls()
	j := &jobsCloud{c, srv}
	write(t, filepath.Join(c.home, "job.yaml"), []byte("dataset: digits\nimage: test/image:1\nrole: "+trainingRole+
		"\ninstance_type: "+map[string]string{"amd64": "ml.m5.xlarge", "arm64": "ml.c7g.xlarge"}[runtime.GOARCH]+"\nbinary: "+binary+"\n"))
	return j
}

// script is the example that trains, which knows nothing of encryption.
func script(t *testing.T, args ...string) []string {
	t.Helper()
	file, err := filepath.Abs("../../examples/digits/train.py")
	check(t, err)
	return append([]string{"--", "python3", file}, args...)
}

func (j *jobsCloud) train(want int, args ...string) (string, string) {
	j.t.Helper()
	return j.run(want, append([]string{"train", "-f", "job.yaml"}, args...)...)
}

// under are the keys of the objects below a folder of the vault.
func (j *jobsCloud) under(folder string) (names []string) {
	for name := range j.objects() {
		if strings.HasPrefix(name, folder) {
			names = append(names, name)
		}
	}
	return names
}

func (j *jobsCloud) object(name string) (bucket, key *string) {
	loc := j.store().Location()
	return &loc.Bucket, aws.String(loc.Prefix + name)
}

// change flips a bit in an object, as a bucket's administrator could.
// get and put read and write an object of the vault, past vaultpack.
func (j *jobsCloud) get(name string) []byte {
	j.t.Helper()
	bucket, key := j.object(name)
	out, err := j.s3.Client(j.t).GetObject(j.t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key})
	check(j.t, err)
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	check(j.t, err)
	return b
}

func (j *jobsCloud) put(name string, b []byte) {
	j.t.Helper()
	bucket, key := j.object(name)
	_, err := j.s3.Client(j.t).PutObject(j.t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(b)})
	check(j.t, err)
}

// runs is run, with both outputs in one.
func (j *jobsCloud) runs(want int, args ...string) string {
	j.t.Helper()
	out, errs := j.run(want, args...)
	return out + errs
}

func (j *jobsCloud) change(name string) {
	j.t.Helper()
	client, bucket := j.s3.Client(j.t), j.store()
	r, err := bucket.Get(j.t.Context(), name, 0, -1)
	check(j.t, err)
	var b bytes.Buffer
	_, err = b.ReadFrom(r)
	check(j.t, err)
	r.Close()
	b.Bytes()[b.Len()/2] ^= 1
	bkt, key := j.object(name)
	_, err = client.PutObject(j.t.Context(), &s3.PutObjectInput{Bucket: bkt, Key: key, Body: bytes.NewReader(b.Bytes())})
	check(j.t, err)
}

// A job trains on the sealed data with a script that knows nothing of it, through
// everything that is there at AWS: one call to KMS, and a model in S3 under its key.
func TestTrainEndToEnd(t *testing.T) {
	t.Parallel()
	j := newJobsCloud(t)
	out, errs := j.train(0, append([]string{"--name", "plain", "--wait", "--logs"}, script(t, "--epochs", "8", "--least-accuracy", "0.9")...)...)
	says(t, out, "800 images to train on", "test accuracy=0.9", "completed plain after")
	says(t, errs, "Downloading", "Training", "Uploading", "Completed")
	if got := j.kmsCalls(); got != "Decrypt Decrypt" { // one here, to plan, one in the job
		t.Errorf("calls to KMS: %s", got)
	}
	bucket, key := j.object("_vaultpack/jobs/digits/plain/output/model.tar.gz")
	head, err := j.s3.Client(t).HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: key})
	check(t, err)
	if head.ServerSideEncryption != "aws:kms" || !strings.HasSuffix(aws.ToString(head.SSEKMSKeyId), j.s3.KMSKey) {
		t.Errorf("the model is encrypted with %s %s", head.ServerSideEncryption, aws.ToString(head.SSEKMSKeyId))
	}
	out, _ = j.run(0, "logs", "plain")
	says(t, out, "test accuracy=0.9")
	// The job has signed what it has made of which data, with a key that it was lent.
	out, _ = j.run(0, "provenance", "plain")
	says(t, out, "job       plain, host algo-1, sagemaker", "run       arn:aws:sagemaker:", "data      digits@1#", "(channel training, in the vault)",
		"_vaultpack/jobs/digits/plain/output/model.tar.gz is what job plain made")
	out, _ = j.run(0, "models", "digits@1")
	says(t, out, "plain", "digits@1, by ", "/_vaultpack/jobs/digits/plain/output/")
	j.change("_vaultpack/jobs/digits/plain/output/model.tar.gz")
	j.run(1, "provenance", "plain")

	// Beside the sealed channel, one of SageMaker's own in a mode that is read-only.
	b, prefix := j.object("plain/")
	_, err = j.s3.Client(t).PutObject(t.Context(), &s3.PutObjectInput{Bucket: b, Key: aws.String(*prefix + "labels"), Body: strings.NewReader("a,b")})
	check(t, err)
	text := read(t, filepath.Join(j.home, "job.yaml"))
	write(t, filepath.Join(j.home, "fast.yaml"), fmt.Appendf(text, "channels:\n  labels: {s3: 's3://%s/%s', input_mode: FastFile}\n", *b, *prefix))
	out, _ = j.run(0, "train", "-f", "fast.yaml", "--name", "fast", "--wait", "--logs", "--",
		"sh", "-c", "cat /opt/ml/input/data/labels/labels; echo; touch /opt/ml/input/data/labels/x || echo read-only; ls /opt/ml/input/data/training/* | grep -c png")
	says(t, out, "a,b\n", "read-only", "1000")

	// Two hosts, each with its share, find all files once between them.
	out, _ = j.train(0, "--name", "sharded", "--instance-count", "2", "--distribution", "ShardedByS3Key", "--wait", "--logs", "--",
		"sh", "-c", "ls /opt/ml/input/data/training/* | grep -c png; find /opt/ml/input/data/training -name '*.vpk'")
	counts := 0
	for line := range strings.Lines(out) {
		host, n, ok := strings.Cut(strings.TrimSpace(line), " | ")
		if ok && strings.HasPrefix(host, "algo-") && strings.Trim(n, "0123456789") == "" {
			v, err := parseSize(n)
			check(t, err)
			if counts += int(v); v < 100 {
				t.Errorf("%s has %d files", host, v)
			}
		}
	}
	if counts != 1000 {
		t.Errorf("%d files on both hosts:\n%s", counts, out)
	}
	j.isolated(t)
	j.sealed(t)
	j.asksOnly(t, "TRAINING.md")
}

// A job that seals its model stores nothing of it in the clear, whatever becomes of the
// command; model get opens it, and nothing that somebody has changed or made.
func (j *jobsCloud) sealed(t *testing.T) {
	const make = `cd /opt/ml/model; mkdir code; echo the weights >w; echo run >code/x; ln -s w latest; ${END:-true}`
	job := func(want int, name string, more ...string) string {
		out, errs := j.train(want, append(append([]string{"--name", name, "--seal-model", "--wait", "--logs"}, more...), "--", "sh", "-c", make)...)
		return out + errs
	}
	says(t, job(0, "sealed"), "sealed the model: 3 files")
	model := func(name string) string { return "_vaultpack/jobs/digits/" + name + "/output/model.tar.gz" }
	b := j.get(model("sealed"))
	z, err := gzip.NewReader(bytes.NewReader(b))
	check(t, err)
	plain, err := io.ReadAll(z)
	check(t, err)
	if bytes.Contains(plain, []byte("the weights")) || bytes.Contains(plain, []byte("predicate")) || !bytes.Contains(plain, []byte("code/x.vpk")) {
		t.Error("the model was stored in the clear, or not at all")
	}
	out, _ := j.run(0, "model", "get", "sealed", "opened")
	says(t, out, "3 files", "of job sealed in opened")
	if got := string(read(t, filepath.Join(j.home, "opened", "latest"))); got != "the weights\n" {
		t.Errorf("the model has %q", got)
	}
	out, _ = j.run(0, "provenance", "opened")
	says(t, out, "is what job sealed made")
	says(t, j.runs(exitUsage, "provenance", "sealed"), "is sealed", "model get sealed DIR")
	says(t, j.runs(exitUsage, "model", "get", "sealed", "opened"), "opened is not empty")
	write(t, filepath.Join(j.home, "copy.tar.gz"), b)
	j.run(0, "model", "get", "copy.tar.gz", "again")
	says(t, j.runs(exitFailed, "model", "get", "isolated", "x"), "not sealed", "tar -xzf")
	says(t, j.runs(exitUsage, "model", "get", "nothing", "x"), "or a training job")
	// Another job's, and one that was changed.
	says(t, job(0, "second"), "sealed the model")
	j.put(model("sealed"), j.get(model("second")))
	says(t, j.runs(exitAuthentication, "model", "get", "sealed", "x"), "the mark in it is of job second")
	j.put(model("sealed"), b)
	j.change(model("sealed"))
	if code, _ := j.try("model", "get", "sealed", "x"); code == 0 {
		t.Error("a model that was changed is opened")
	}
	if _, err := os.Lstat(filepath.Join(j.home, "x")); err == nil {
		t.Error("something of it was written")
	}
	// Nothing tells who has made a model whose statement is left out.
	says(t, job(0, "unsigned", "--no-provenance"), "sealed the model")
	write(t, filepath.Join(j.home, "unsigned.tar.gz"), j.get(model("unsigned")))
	j.runs(exitAuthentication, "model", "get", "unsigned.tar.gz", "x")
	j.run(0, "model", "get", "unsigned.tar.gz", "x", "--no-provenance")
	// A command that fails has its model sealed too.
	says(t, job(exitFailed, "failing", "-e", "END=false"), "sealed the model")
}

// Without network the key comes in a channel, which is gone as soon as the job
// trains; KMS is never asked by the job.
func (j *jobsCloud) isolated(t *testing.T) {
	j.kmsCalls()
	out, _ := j.train(0, append([]string{"--name", "isolated", "--network-isolation", "--key-channel", "arn:aws:kms:" + j.s3.KMSKey, "--wait", "--logs"},
		script(t, "--epochs", "2")...)...)
	says(t, out, "epoch 2: loss", "completed isolated")
	if got := j.kmsCalls(); got != "Decrypt" {
		t.Errorf("calls to KMS: %s", got)
	}
	out, _ = j.run(0, "provenance", "isolated")
	says(t, out, "is what job isolated made")
	if left := j.under("_vaultpack/jobs/digits/isolated/key/"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// Whatever is changed in the bucket ends the job with the reason, before the
// script has started.
func TestTrainTampered(t *testing.T) {
	t.Parallel()
	j := newJobsCloud(t)
	refused := func(name, reason string, args ...string) {
		t.Helper()
		out, errs := j.train(1, append(append([]string{"--name", name, "--wait", "--logs"}, args...), "--", "echo", "the script runs")...)
		says(t, errs, "the job "+name+" has ended with the status Failed", reason)
		if strings.Contains(out, "the script runs") {
			t.Errorf("%s: %s", name, out)
		}
	}
	// The source is changed after the launch, while the job starts.
	src := filepath.Join(j.home, "src")
	write(t, filepath.Join(src, "train.py"), []byte("print('hello')\n"))
	run := []string{"--source", "src", "--entry", "train.py", "--", "sh", "-c", "tar -xzOf /opt/ml/input/data/code/sourcedir.tar.gz train.py"}
	out, _ := j.train(0, append([]string{"--name", "source", "--wait", "--logs"}, run...)...)
	says(t, out, "print('hello')")
	j.train(0, append([]string{"--name", "other-source"}, run...)...)
	j.change("_vaultpack/jobs/digits/other-source/source/sourcedir.tar.gz")
	out, errs := j.run(1, "logs", "other-source", "--follow")
	says(t, errs, "sourcedir.tar.gz is missing, or was changed in S3")
	if strings.Contains(out, "print('hello')") {
		t.Error(out)
	}

	// The key that the job is lent is another job's.
	j.train(0, "--name", "other-key", "--", "echo", "the script runs")
	bkt, key := j.object("_vaultpack/jobs/digits/other-key/signing.vpk")
	_, err := j.s3.Client(t).CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: bkt, Key: key, CopySource: aws.String(*bkt + "/" + strings.Replace(*key, "other-key", "source", 1))})
	check(t, err)
	out, errs = j.run(1, "logs", "other-key", "--follow")
	says(t, errs, "the job's signing key is that of another job")
	if strings.Contains(out, "the script runs") {
		t.Error(out)
	}

	// The version that was asked for is replaced by an older one, or is gone.
	more := filepath.Join(j.home, "more")
	first, _ := j.object("more/versions/0000000001.vpk")
	for name, replace := range map[string]func(key *string) error{
		"rolled-back": func(key *string) error {
			_, old := j.object("more/versions/0000000001.vpk")
			_, err := j.s3.Client(t).CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: first, Key: key, CopySource: aws.String(*first + "/" + *old)})
			return err
		},
		"withheld": func(key *string) error {
			_, err := j.s3.Client(t).DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: first, Key: key})
			return err
		},
	} {
		for _, contents := range []string{"first", "second"} {
			write(t, filepath.Join(more, "a"), []byte(contents))
			j.upload(more, "-d", "more")
		}
		j.train(0, "more", "--name", name, "--", "echo", "the script runs")
		_, key := j.object("more/versions/0000000002.vpk")
		check(t, replace(key))
		out, errs := j.run(1, "logs", name, "--follow")
		says(t, errs, "has ended with the status Failed")
		if strings.Contains(out, "the script runs") {
			t.Errorf("%s: %s", name, out)
		}
		j.run(0, "rm", "more", "--confirm", "more")
	}

	packs := j.under("digits/packs/")
	j.change(packs[0])
	refused("pack", "authentication failed")
	j.change(packs[0])
	binary := j.under("_vaultpack/bin/")
	j.change(binary[0])
	refused("binary", "binary missing or bad")
}

// A key that is taken away, a stop, and spot instances that are interrupted.
func TestTrainInterrupted(t *testing.T) {
	t.Parallel()
	j := newJobsCloud(t)
	wait := func(job, line string) {
		t.Helper()
		for began := time.Now(); !slices.Contains(j.sm.Logs(job), line); time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatalf("job %s has not written %q, but %q", job, line, j.sm.Logs(job))
			}
		}
	}
	const waits = `trap "exit 0" TERM; echo begun; while :; do sleep 0.1; done`
	j.train(0, "--name", "stopped", "--", "sh", "-c", waits)
	wait("stopped", "begun")
	out, _ := j.run(0, "stop", "stopped", "--wait")
	says(t, out, "stopped stopped after")
	_, errs := j.run(1, "logs", "stopped", "--follow")
	says(t, errs, "has ended with the status Stopped")

	const resumes = `if [ -e /opt/ml/checkpoints/c ]; then echo resumed; ls /opt/ml/input/data/training/* | grep -c png; exit; fi; echo 1 >/opt/ml/checkpoints/c; ` + waits
	j.train(0, "--name", "spot", "--spot", "--", "sh", "-c", resumes)
	wait("spot", "begun")
	check(t, j.sm.Interrupt("spot"))
	out, errs = j.run(0, "logs", "spot", "--follow")
	says(t, out, "begun\n", "resumed\n", "\n1000\n")
	says(t, errs, "Interrupted")

	j.train(0, "--name", "denied", "--", "echo", "the script runs")
	j.kms.SetIAM(principal)
	out, errs = j.run(1, "logs", "denied", "--follow")
	says(t, errs, "kms:Decrypt", j.arn)
	if strings.Contains(out, "the script runs") {
		t.Error(out)
	}
}
