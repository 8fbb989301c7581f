package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/internal/race"
)

// Why a command of a page is not run here, by the page and its beginning.
const (
	isPart          = "it is a part of a command, of which the page speaks"
	takesJob        = "it is about a training job: the tests of train, jobs, logs and stop run them with a stand-in for SageMaker"
	takesLocal      = "the tests of train --local run it, with Python"
	takesBuild      = "it looks for the program for containers, which make binaries builds"
	takesFUSE       = "it takes root and /dev/fuse: TestMountWithCommand and TestMountUntilStopped run it"
	isShared        = "it names a plan: the script plan runs it"
	isSharded       = "it names a folder that workers share: the script shards runs it"
	destroys        = "TestDestroy runs it"
	takesProcessing = "TestProcessEndToEnd runs them, with a SageMaker that runs the job"
	isPage          = "it runs until it is interrupted: TestBrowse runs it"
	isBucket        = "it reads a bucket with objects: TestBucketAsSource runs such commands, with MinIO"
	isServer        = "it runs until it is interrupted: TestServe runs it"
)

var notRun = map[string]string{
	"AWS.md: init --destroy":             destroys,
	"AWS.md: push --dry-run":             isPart,
	"COSTS.md: push --dry-run":           isPart,
	"PROCESSING.md: process":             takesProcessing,
	"PROCESSING.md: jobs":                takesProcessing,
	"PROCESSING.md: logs":                takesProcessing,
	"PROCESSING.md: stop":                takesProcessing,
	"PROCESSING.md: policy":              isPart,
	"PULUMI.md: train":                   takesJob,
	"PULUMI.md: init --vault s3://…":     isPart,
	"PULUMI.md: policy --format":         isPart,
	"READING.md: browse":                 isPage,
	"READING.md: mount":                  takesFUSE,
	"READING.md: serve":                  isServer,
	"S3-SOURCES.md: push s3:":            isBucket,
	"S3-SOURCES.md: plan s3:":            isBucket,
	"SCALE.md: plan /shared":             isShared,
	"SCALE.md: plan status":              isShared,
	"SCALE.md: plan give-up":             isShared,
	"SCALE.md: work":                     isShared,
	"SCALE.md: commit":                   isShared,
	"SCALE.md: restore":                  isSharded,
	"SCALE.md: verify":                   isSharded,
	"SECURITY.md: keys":                  isPart,
	"TRAINING-LOCAL.md: train":           takesLocal,
	"TRAINING-LOCAL.md: restore":         takesLocal,
	"TRAINING.md: train":                 takesJob,
	"TRAINING.md: logs":                  takesJob,
	"TRAINING.md: stop":                  takesJob,
	"TRAINING-ANYWHERE.md: open labels":  isPart,
	"TRAINING-ANYWHERE.md: push ./model": isPart,
	"aws-checklist.md: keys add":         isPart,
	"aws-checklist.md: push --dry":       isPart,
	"aws-checklist.md: push s3:":         isBucket,
	"aws-checklist.md: train":            takesJob,
	"aws-checklist.md: process":          takesProcessing,
	"aws-checklist.md: checkpoints get":  takesJob,
	"TRAINING.md: model get":             takesJob,
	"TRAINING.md: checkpoints get":       takesJob,
	"aws-checklist.md: doctor --dataset": takesBuild,
}

// What the other pages show works as it is written, with names in the place of those in
// capitals: with an AWS, and vaults that have what it names. docs/KEYS.md has a test of
// its own.
func TestCommandsOfPagesWork(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	s := awstest.New("eu-central-1")
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.AddBucket("my-bucket", awstest.Bucket{})
	p := newPlace(t)
	p.env = append(p.env, "AWS_ENDPOINT_URL="+h.URL, "AWS_REGION="+s.Region, "AWS_ACCESS_KEY_ID=admin", "AWS_SECRET_ACCESS_KEY=x",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_CA_BUNDLE=", "VAULTPACK_VAULT=")
	p.run(exitDone, "init", "--vault", "s3://my-bucket/ml", "--yes", "--adopt", "--user", "me")
	settings, err := os.ReadFile(filepath.Join(p.home, "vaultpack.yaml"))
	check(t, err)
	arn := regexp.MustCompile(`arn:aws:kms:[^\s"]+`).FindString(string(settings))
	for i := range 9 {
		for _, name := range []string{"scans", "d"} {
			write(t, filepath.Join(p.home, name, "1.json"), fmt.Appendf(nil, "%d", i))
			p.run(exitDone, "push", "-q", "./"+name)
		}
	}
	// Versions are signed with the key that init has made, from whatever machine.
	out, _ := p.run(exitDone, "signers", "list", "scans")
	if strings.Count(out, "owner ") != 1 || !strings.Contains(out, "vaultpack-signer-1:MFkwEwYHKoZIzj0CAQ") { // of ECC_NIST_P256
		t.Errorf("the signers are:\n%s", out)
	}
	other := newPlace(t)
	other.env = append(slices.Clone(p.env), "HOME="+other.home, "VAULTPACK_HOME="+other.home)
	write(t, filepath.Join(other.home, "vaultpack.yaml"), settings)
	write(t, filepath.Join(other.home, "scans", "2.json"), []byte("of another machine"))
	other.run(exitDone, "push", "-q", "./scans")
	write(t, filepath.Join(p.home, "testdata", "dataset", "1.png"), []byte("an image"))
	program(t, filepath.Join(p.home, "train.sh"), "#!/bin/sh\nls $1/1.json\n")
	program(t, filepath.Join(p.home, "shrink.sh"), "#!/bin/sh\nmkdir $2 && cp $1/1.json $2\n")
	p.run(exitDone, "train", "--local", "scans", "--name", "digits-1", "--metric", "accuracy=test accuracy=(.+)", "--", "sh", "-c", "echo test accuracy=0.9; echo model >$SM_MODEL_DIR/m")
	p.run(exitDone, "restore", "scans-models", ".")
	named := strings.NewReplacer("NAME", "scans", "JOB", "digits-1", "DATASET", "scans", "ROLE-ARN", "arn:aws:iam::111122223333:role/vaultpack-my-bucket-trainer")
	used, ran := map[string]bool{}, 0
	for _, d := range documentedCommands(t) {
		if d.page == "README.md" || d.page == "KEYS.md" || d.page == "SIGNERS.md" || len(d.args) == 1 {
			continue
		}
		told := d.page + ": " + d.text
		left := ""
		for begin := range notRun {
			if strings.HasPrefix(told, begin) {
				left, used[begin] = begin, true
			}
		}
		if left != "" {
			continue
		}
		args := slices.Clone(d.args)
		for i, a := range args {
			switch {
			case a == "ARN" && (args[i-1] == "--principal" || args[i-1] == "--role"):
				a = "arn:aws:iam::111122223333:role/vaultpack-my-bucket-trainer"
			case a == "ARN":
				a = arn
			}
			args[i] = named.Replace(a)
		}
		if args[0] == "init" && !slices.Contains(args, "--check") && !slices.Contains(args, "--plan") {
			args = append(args, "--yes", "--adopt")
		}
		ran++
		if code, out := p.try(args...); code != exitDone {
			t.Errorf("%s: exit code %d\n%s", told, code, out)
		}
	}
	for begin := range notRun {
		if !used[begin] {
			t.Errorf("no page has %q any more, which is not run", begin)
		}
	}
	if ran < 18 {
		t.Errorf("only %d commands ran", ran)
	}
}
