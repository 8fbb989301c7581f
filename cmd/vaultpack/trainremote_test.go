package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
)

// A job on this machine reads plain channels from S3, keeps its checkpoints there while it
// runs, so that another machine goes on from them, and leaves its results there, in the places
// and under the names that SageMaker has for them. What cannot be stored is kept here.
func TestLocalJobInS3(t *testing.T) {
	race.Skip(t, "a process that is killed reports no race")
	t.Parallel()
	c := newCloud(t, s3test.MinIO(t, false))
	j := &jobsCloud{cloud: c}
	c.env = append(c.env, "TEST_EVERY=100ms")
	write(t, filepath.Join(c.home, "few", "f"), []byte("sealed"))
	c.upload("few")
	for _, name := range []string{"labels/a", "labels/b", "labels/sub/c", "labels-2/x", "one/file.txt"} {
		j.put(name, []byte(name))
	}
	bucket, prefix := j.object("")
	root := "s3://" + *bucket + "/" + strings.TrimSuffix(*prefix, "/")
	write(t, filepath.Join(c.home, "job.yaml"), []byte(strings.ReplaceAll(`dataset: few
channels:
  labels: {s3: ROOT/labels/}
  names: {s3: ROOT/labels}
  one: {s3: ROOT/one/file.txt, input_mode: FastFile}
  parts: {s3: ROOT/labels/, distribution: ShardedByS3Key}
instance_count: 2
output: ROOT/models/
checkpoints: ROOT/ckpt/
`, "ROOT", root)))

	// Two hosts, killed when the checkpoint of one is in S3.
	j.put("ckpt/old/n", []byte("1"))
	const script = `cd /opt/ml/input/data; for c in labels names one parts; do echo out: $c $(cd $c; find . -type f | sort); done; cat one/file.txt
cd /opt/ml/checkpoints; echo "out: found $(find . -type f | sort | xargs tail -n +1)"; [ ! -e go ] || { echo m >/opt/ml/model/m; echo d >/opt/ml/output/data/d; exit 0; }
case $(hostname) in algo-1) mkdir new; echo two >new/n; rm old/n; ln -s new/n link;; esac; sleep 100`
	write(t, filepath.Join(c.home, "c.sh"), []byte(script))
	cmd := c.command("train", "--local", "-f", "job.yaml", "--name", "first", "--work-dir", c.home, "--", "sh", filepath.Join(c.home, "c.sh"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	check(t, cmd.Start())
	for begun := time.Now(); !c.objects()["ckpt/new/n"]; time.Sleep(50 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("no checkpoint was stored while the job ran:\n%s", out.String())
		}
	}
	check(t, cmd.Process.Kill())
	cmd.Wait()
	says(t, out.String(), "| out: labels ./a ./b ./sub/c\n", "| out: names ./a ./b ./labels-2/x ./sub/c\n", "| one/file.txt", "| out: one ./file.txt", "found 1\n", "checkpoints: from "+root+"/ckpt")
	says(t, out.String(), "algo-1 | out: parts ./a ./sub/c\n", "algo-2 | out: parts ./b\n")
	if got := string(j.get("ckpt/old/n")); got != "1" || c.objects()["ckpt/link"] || c.objects()["ckpt/.vaultpack-write-test"] {
		t.Errorf("%q: what the script removes stays, and links come at the end", got)
	}

	// Another machine goes on with them.
	other := c.elsewhere(t)
	for _, name := range []string{"vaultpack.yaml", "job.yaml"} {
		write(t, filepath.Join(other.home, name), read(t, filepath.Join(c.home, name)))
	}
	j.put("ckpt/go", nil)
	train := func(name string, more ...string) []string {
		return append(append([]string{"train", "--local", "-f", "job.yaml", "--name", name, "--work-dir", other.home}, more...), "--", "sh", filepath.Join(c.home, "c.sh"))
	}
	done, _ := other.run(0, train("second")...)
	says(t, done, "algo-1 | two", "algo-2 | two", root+"/models/second/output/model.tar.gz (not sealed)", "checkpoints  "+root+"/ckpt")
	holds(t, j.get("models/second/output/model.tar.gz"), "m")
	holds(t, j.get("models/second/output/output.tar.gz"), "d")
	head, err := c.s3.Client(t).HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: aws.String(*prefix + "models/second/output/model.tar.gz")})
	check(t, err)
	if head.ServerSideEncryption != "aws:kms" || !strings.HasSuffix(aws.ToString(head.SSEKMSKeyId), c.s3.KMSKey) {
		t.Errorf("the model is encrypted with %s %s", head.ServerSideEncryption, aws.ToString(head.SSEKMSKeyId))
	}

	// What would be lost, or cannot be done, is refused before anything is opened.
	for _, x := range []struct {
		code int
		args []string
		says string
	}{
		{exitUsage, train("second"), "models/second/output/model.tar.gz: a job of that name has left its results there: choose another --name"},
		{exitUsage, train("third", "--channel", "none="+root+"/nothing/"), "channel none: " + root + "/nothing/: no object is there"},
		{exitUsage, train("third", "--channel", "p="+root+"/labels/,data_type=ManifestFile"), "a manifest is not read on this machine; fill the channel with --channel p=DIR instead"},
		{exitUsage, train("third", "--seal-checkpoints", "--output", "seal"), "name a dataset with --checkpoints"},
		{exitUsage, train("third", "--output", "s3://"), "--output: s3:// is not an S3 location: the bucket is missing"},
		{exitUsage, train("third", "--checkpoints", "gs://b/c"), "--checkpoints: with --local a place that is a URI is in S3"},
		{exitFailed, train("third", "--output", "s3://vaultpack-no-such-bucket/m"), "the results cannot be delivered there: "},
	} {
		_, errs := other.run(x.code, x.args...)
		says(t, errs, x.says)
	}

	// The bucket takes no model when the job has ended: it stays here, and is delivered later.
	proxy := faultproxy.New(t, c.s3.URL, c.s3.Transport(), &fault{Op: "PutObject", Path: "/fourth/output/model.tar.gz", Do: refuse(403, "AccessDenied")})
	other.through(proxy.URL)
	_, errs := other.run(exitNotAllowed, train("fourth")...)
	says(t, errs, "the results of job fourth are kept in "+other.home, "train --local --resume fourth")
	if c.objects()["models/fourth/output/model.tar.gz"] {
		t.Error("the model was stored")
	}
	other.configure(other.url, "kms_key: "+c.s3.KMSKey)
	other.run(0, "train", "--local", "--resume", "fourth", "--work-dir", other.home)
	holds(t, j.get("models/fourth/output/model.tar.gz"), "m")
	if left, _ := filepath.Glob(filepath.Join(other.home, "vaultpack-train-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}

	// The killed run had a checkpoint that only the end stores. It is not lost either.
	first, _ := filepath.Glob(filepath.Join(c.home, "vaultpack-train-*"))
	if len(first) != 1 {
		t.Fatalf("the folder of the killed run: %q", first)
	}
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) { // its hosts end by themselves
		out, _ := c.run(0, "jobs", "local", "--work-dir", c.home)
		if !strings.Contains(out, "InProgress") {
			break
		}
		if time.Since(begun) > time.Minute {
			t.Fatal(out)
		}
	}
	c.run(0, "train", "--local", "--resume", "first", "--work-dir", c.home)
	if got := string(j.get("ckpt/link")); got != "two\n" {
		t.Errorf("the link was stored as %q", got)
	}
	if _, err := os.Stat(first[0]); err == nil {
		t.Error("its folder is still there")
	}
}

// holds compares the names of the files in an archive of a job's.
func holds(t *testing.T, archive []byte, want ...string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	check(t, err)
	var names []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		check(t, err)
		if !strings.HasPrefix(h.Name, ".vaultpack") {
			names = append(names, h.Name)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("the archive holds %q, want %q", names, want)
	}
}
