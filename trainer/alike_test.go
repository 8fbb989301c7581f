package trainer_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/sagemakertest"
)

// choices are what a random job has in each field: what is good, after |, what is not.
var choices = map[string]string{
	"name": "a\na-1\n|\n-x\na_b\n" + strings.Repeat("x", 64), "dataset": "digits\ndigits@1\n|\nno/name\ndigits@0\n''",
	"distribution": "FullyReplicated\n|\nSharded", "at_least": "1\n|\n-1\n0.5", "allow_incomplete": "true\nfalse\n|\nmaybe",
	"format": "files\ntar\n|\nzip", "image": "a/b:1\n" + strings.Repeat("i", 255) + "\n|\n''\n'a b'\n" + strings.Repeat("i", 256),
	"role": "arn:aws:iam::111122223333:role/training\n|\n''\nadmin", "command": "[python3, t.py]\n[sh]\n|\n\"[\\\"a\\\\nb\\\"]\"\n[\"a\\nb\"]\n[" + strings.Repeat("x", 257) + "]",
	"instance_type": "ml.m5.xlarge\nml.c5.xlarge\nml.g5.xlarge\n|\n''\nm5.xlarge\nml.", "instance_count": "1\n2\n|\n0\n-1\n9999999\nx",
	"volume_size": "1\n16384\n|\n0\n-1\n16385", "volume_kms_key": "none\n|\n'a b'", "keep_alive": "30m\n60\n|\n-1m\n7h\n1.5s",
	"hyperparameters": "{a: 1, b: x, c: ~, d: 2026-01-02}\n{a: [1, {b: c}]}\n{}\n|\n{a: \"x\\ny\"}\n{\"\": 1}\n{a: " + strings.Repeat("v", 2501) + "}\n[1]",
	"environment":     "{A: b, _c: 1.10}\n{A: \"x\\ny\"}\n|\n{1A: b}\n{A-B: c}\n{A: " + strings.Repeat("v", 513) + "}",
	"output":          "s3://bucket/x\ns3://bucket\n|\nhttp://x\ns3://B\n./out", "output_kms_key": "none\n" + sseKey + "\n|\n'a b'",
	"output_compression": "GZIP\nNONE\n|\nZIP", "subnets": "[]\n|\n[subnet-1]\n['a b']", "security_groups": "[]\n|\n[sg-1]",
	"network_isolation": "false\n|\ntrue", "key_channel": "''\n|\narn:aws:kms:eu-west-1:111122223333:key/x", "inter_container_encryption": "true\nfalse\n|\n2",
	"max_runtime": "1\n24h\n672h\n|\n0\n-1h\n673h\nlong", "max_pending": "2h\n|\n1h\n700h", "spot": "true\nfalse\n|\n1.5", "max_wait": "48h\n|\n-1h\n9000h",
	"checkpoints": "s3://bucket/c\n|\n./c\nhttp://x", "checkpoint_path": "/opt/ml/checkpoints\n|\nrelative\n/ckpt", "retries": "1\n30\n|\n0\n31\n-1",
	"metrics":     "[{name: loss, regex: 'l=([0-9.]+)'}]\n|\n[{name: '', regex: x}]\n[{name: a}]\n[{name: a, regex: " + strings.Repeat("r", 501) + "}]",
	"tags":        "{project: digits}\n{a: ''}\n|\n{aws:x: y}\n{a: '*?'}",
	"tensorboard": "s3://bucket/tb\n|\n./tb", "tensorboard_path": "/opt/ml/tb\n|\ntb", "profiler": "s3://bucket/p\n|\n./p",
	"arch": "amd64\narm64\n|\nmips", "launcher": "torchrun\nmpi\nsmddp\n|\nhorovod", "processes_per_host": "2\n|\n0\n-1\n2000", "mpi_options": "-x A\n|\n\"a\\nb\"",
	"launcher_group": "g\n|\nnone", "seal_model": "true\nfalse\n|\n3", "no_provenance": "true\nfalse\n|\n3", "unknown": "|\n1",
	"instance_groups": "[{name: g, type: ml.m5.xlarge, count: 1}]\n[{name: g, type: ml.m5.xlarge, count: 1}, {name: h, type: ml.c5.xlarge, count: 2}]\n|\n[{name: g, type: x, count: 1}]\n[{name: g, type: ml.m5.xlarge, count: 0}]\n[{name: g, type: ml.m5.xlarge, count: 1}, {name: g, type: ml.m5.xlarge, count: 1}]",
	"channels":        "{more: {dataset: digits}}\n{more: {dataset: digits@1, distribution: ShardedByS3Key}}\n{p: {s3: s3://bucket/p, input_mode: FastFile, content_type: a/b}}\n{p: {s3: s3://bucket/p, distribution: ShardedByS3Key, shuffle_seed: 1}}\n{p: {s3: s3://bucket/p, instance_groups: [g]}}\n{more: {dataset: digits, instance_groups: [g]}}\n{more: {dataset: digits, instance_groups: [g, h]}}\n|\n{p: {}}\n{p: ~}\n{training: {dataset: digits}}\n{vaultpack: {s3: s3://bucket/x}}\n{code: {dataset: digits}}\n{..: {dataset: digits}}\n{more: {dataset: digits, input_mode: Pipe}}\n{p: {s3: s3://bucket/p, input_mode: Fast}}\n{p: {s3: x}}\n{p: {dataset: digits, s3: s3://bucket/p}}\n{p: {dataset: digits, folder: ./x}}",
}

// onlyAWSNeeds are fields without which SageMaker takes no job, and this machine one.
var onlyAWSNeeds = []string{"image", "role", "instance_type"}

// onlyAWSDoes are fields, or what is in front of their dot, that CheckHere may refuse of a
// job that SageMaker would take, and why. What this machine does not do has to be here.
var onlyAWSDoes = map[string]string{
	"command":         "the image's command is not here",
	"channels":        "plain data in S3 is copied, and neither piped nor shuffled",
	"checkpoint_path": "there is one folder for them",
	"instance_count":  "64 hosts on one machine",
	"launcher":        "smddp is in AWS's images; hosts have no SSH for mpi",
	"launcher_group":  "a launcher is for all hosts",
}

// randomJob is a job with some fields of any value.
func randomJob(r *rand.Rand) string {
	job := map[string]string{"dataset": "digits", "image": "a/b:1", "role": "arn:aws:iam::111122223333:role/training", "instance_type": "ml.m5.xlarge", "command": "[python3, t.py]"}
	if r.IntN(3) == 0 { // script mode
		delete(job, "command")
		job["source"], job["entry"] = "testdata", "t.py"
	}
	if r.IntN(4) == 0 { // groups
		delete(job, "instance_type")
		job["instance_groups"] = "[{name: g, type: ml.m5.xlarge, count: 1}, {name: h, type: ml.c5.xlarge, count: 2}]"
	}
	fields := slices.Sorted(maps.Keys(choices))
	for range 1 + r.IntN(6) {
		f := fields[r.IntN(len(fields))]
		good, bad, _ := strings.Cut(choices[f], "|\n")
		from := good
		if from == "" || r.IntN(5) == 0 {
			from = bad
		}
		values := strings.Split(strings.TrimSuffix(from, "\n"), "\n")
		job[f] = values[r.IntN(len(values))]
	}
	if r.IntN(8) == 0 {
		all := slices.Sorted(maps.Keys(job))
		delete(job, all[r.IntN(len(all))])
	}
	var b strings.Builder
	for _, f := range slices.Sorted(maps.Keys(job)) {
		fmt.Fprintf(&b, "%s: %s\n", f, job[f])
	}
	return b.String()
}

// wrong are the fields that an error complains of.
func wrong(t *testing.T, err error) (fields []string) {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T: %v", err, err)
	}
	for _, e := range joined.Unwrap() {
		var f *trainer.FieldError
		if !errors.As(e, &f) {
			t.Fatalf("%v is of no field", e)
		}
		fields = append(fields, f.Field)
	}
	return fields
}

// What a thousand random files describe is accepted or refused alike: by train --local, by
// train --print, and, as far as it is sent, by a SageMaker that holds to the API's model.
// The differences that are right are in the tables above.
func TestAlike(t *testing.T) {
	w := newWorld(t)
	w.upload("digits", 40, 2000)
	empty := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { // an S3 with something in every place
		fmt.Fprint(rw, `<ListBucketResult><KeyCount>1</KeyCount><Contents><Key>x</Key><Size>1</Size></Contents></ListBucketResult>`)
	}))
	t.Cleanup(empty.Close)
	const role = "arn:aws:iam::111122223333:role/training"
	srv, err := sagemakertest.Start(sagemakertest.Config{S3: empty.URL, S3Region: "eu-west-1", Roles: map[string]aws.Credentials{role: {AccessKeyID: "a", SecretAccessKey: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	srv.Outcome("*", sagemakertest.Outcome{Status: types.TrainingJobStatusCompleted, Secondary: types.SecondaryStatusCompleted})
	api := sagemaker.New(sagemaker.Options{Region: "eu-west-1", BaseEndpoint: &srv.URL, RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
	rng := rand.New(rand.NewPCG(1, 2))
	sent, refused, apart := 0, 0, 0
	for n := range 1000 {
		text := randomJob(rng)
		j, err := trainer.ParseJob("job.yaml", []byte(text))
		if err != nil { // all read the file by the same function
			refused++
			continue
		}
		cloud, here := wrong(t, j.Check()), wrong(t, j.CheckLocal())
		missing := func(f string) bool { return slices.Contains(onlyAWSNeeds, f) && !slices.Contains(here, f) }
		if both := slices.DeleteFunc(slices.Clone(cloud), missing); !slices.Equal(both, here) {
			t.Errorf("for SageMaker %q are wrong, here %q:\n%s", cloud, here, text)
		}
		if len(cloud) > 0 {
			refused++
			continue
		}
		for _, f := range wrong(t, j.CheckHere()) {
			apart++
			if f, _, _ := strings.Cut(f, "."); onlyAWSDoes[f] == "" {
				t.Errorf("%s is refused here, and taken by SageMaker:\n%s", f, text)
			}
		}
		j.Name = fmt.Sprintf("job-%d", n)
		if j.Source != "" {
			j.Source, j.Entry = t.TempDir(), "t.py"
			if err := os.WriteFile(j.Source+"/t.py", []byte("pass"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, err := w.launcher.Plan(t.Context(), j)
		if err != nil {
			refusedByPlan(t, err, text)
			continue
		}
		sent++
		_, err = api.CreateTrainingJob(t.Context(), p.Request)
		p.Close()
		if err != nil && !strings.Contains(err.Error(), "not done by sagemakertest") {
			t.Errorf("SageMaker refuses what Check accepts: %v\n%s", err, text)
		}
	}
	t.Logf("%d sent, %d refused by all, %d fields refused on this machine only", sent, refused, apart)
	if sent < 200 || refused < 200 || apart < 8 {
		t.Errorf("%d were sent, %d refused, %d different: the generator tries too little", sent, refused, apart)
	}
}

// plansRefuse are what can be told only with the vault and the services.
var plansRefuse = []string{"ShardedByS3Key", "is not for arm64", "volume_size: is too small", "arm64", "the container takes"}

func refusedByPlan(t *testing.T, err error, text string) {
	t.Helper()
	if !slices.ContainsFunc(plansRefuse, func(s string) bool { return strings.Contains(err.Error(), s) }) {
		t.Errorf("the plan refuses: %v\n%s", err, text)
	}
}
