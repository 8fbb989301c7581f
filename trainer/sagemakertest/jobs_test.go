package sagemakertest_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/internal/leaktest"
)

// In a container, the test's own program is what uses the role's credentials.
func TestMain(m *testing.M) {
	if os.Getenv("TRAINING_JOB_NAME") != "" {
		if err := useRole(os.Args[1], os.Args[2]); err != nil {
			fmt.Println(err)
			os.Exit(7)
		}
		os.Exit(0)
	}
	leaktest.Main(m)
}

// useRole reads an object with the credentials that the container finds by itself.
func useRole(bucket, key string) error {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		return err
	}
	c := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle, o.Region = true, "us-east-1" })
	out, err := c.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return err
	}
	defer out.Body.Close()
	b, err := io.ReadAll(out.Body)
	fmt.Println("read", string(b))
	return err
}

// All jobs run at once on one server.
func TestJobs(t *testing.T) {
	shared := newWorld(t)
	for name, f := range map[string]func(*world){
		"job": testJob, "failures": testFailures, "stop": testStop, "max runtime": testMaxRuntime, "hosts": testHosts,
		"missing data": testMissingData, "role": testRole, "network isolation": testIsolation, "spot": testSpot,
		"image": testImage, "odd": testOdd,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := *shared
			w.TB, w.bucket = t, shared.minio.Bucket(t)
			f(&w)
		})
	}
}

// A job sees what SageMaker gives it, and what it leaves is put into S3.
func testJob(w *world) {
	w.put("data/a.txt", "A")
	w.put("data/sub/b.txt", "B")
	w.put("other/keys/1.json", "K")
	w.put("m.manifest", `[{"prefix": "s3://`+w.bucket+`/other/"}, "keys/1.json"]`)
	const script = `
cd /opt/ml
echo "$TRAINING_JOB_NAME $TRAINING_JOB_ARN $AWS_REGION"
echo "$1 $2 $MODE $EXTRA" >&2
cat input/config/hyperparameters.json input/config/inputdataconfig.json input/config/resourceconfig.json | tr -d ' \n'; echo
cat input/data/training/a.txt input/data/training/sub/b.txt input/data/meta/keys/1.json; echo
echo x >input/data/training/new && echo writable
(echo x >input/data/fast/new) 2>/dev/null || echo read-only $(cat input/data/fast/a.txt)
hostname; grep -c . /etc/hosts; ls -A model output checkpoints
mkdir model/sub; echo weights >model/sub/w; echo loss >output/data/loss.txt
echo pid $$`
	in := w.request("job-1", script)
	in.AlgorithmSpecification.ContainerArguments = []string{"one arg", "--two"}
	in.HyperParameters = map[string]string{"epochs": "3"}
	in.Environment = map[string]string{"MODE": "fast"}
	in.OutputDataConfig.KmsKeyId = &w.minio.KMSKey
	fast := channel("fast", "s3://"+w.bucket+"/data/", types.S3DataTypeS3Prefix)
	fast.InputMode = types.TrainingInputModeFastfile
	in.InputDataConfig = []types.Channel{
		channel("training", "s3://"+w.bucket+"/data", types.S3DataTypeS3Prefix),
		channel("meta", "s3://"+w.bucket+"/m.manifest", types.S3DataTypeManifestFile), fast}
	w.create(in)
	got, passed := w.wait("job-1")
	if got.TrainingJobStatus != types.TrainingJobStatusCompleted || passed != "Starting Downloading Training Uploading Completed" {
		w.Errorf("%s by %s: %s", got.TrainingJobStatus, passed, aws.ToString(got.FailureReason))
	}
	arn := "arn:aws:sagemaker:eu-west-1:111122223333:training-job/job-1"
	file := `{"RecordWrapperType":"None","S3DistributionType":"FullyReplicated","TrainingInputMode":"File"}`
	want := []string{
		"job-1 " + arn + " eu-west-1",
		"one arg --two fast by the tester",
		`{"epochs":"3"}{"fast":` + file + `,"meta":` + file + `,"training":` + file + `}` +
			`{"current_group_name":"homogeneousCluster","current_host":"algo-1","current_instance_type":"ml.m5.large","hosts":["algo-1"],` +
			`"instance_groups":[{"instance_group_name":"homogeneousCluster","instance_type":"ml.m5.large","hosts":["algo-1"]}],"network_interface_name":"lo"}`,
		"ABK", "writable", "read-only A", "algo-1", "2", "model:", "output:", "data", "pid 1",
	}
	lines := slices.DeleteFunc(w.srv.Logs("job-1"), func(l string) bool { return strings.HasPrefix(l, "ls:") })
	slices.Sort(lines)
	slices.Sort(want)
	if !slices.Equal(lines, want) {
		w.Errorf("logged\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if uri := "s3://" + w.bucket + "/out/job-1/output/model.tar.gz"; aws.ToString(got.ModelArtifacts.S3ModelArtifacts) != uri {
		w.Errorf("the model is at %v, want %s", got.ModelArtifacts.S3ModelArtifacts, uri)
	}
	if files := w.untar("out/job-1/output/model.tar.gz"); !slices.Equal(files, []string{"sub/=", "sub/w=weights\n"}) {
		w.Errorf("the model holds %q", files)
	}
	if files := w.untar("out/job-1/output/output.tar.gz"); !slices.Equal(files, []string{"loss.txt=loss\n"}) {
		w.Errorf("the output holds %q", files)
	}
	if o := w.get("out/job-1/output/model.tar.gz"); o.ServerSideEncryption != "aws:kms" || !strings.HasSuffix(aws.ToString(o.SSEKMSKeyId), w.minio.KMSKey) {
		w.Errorf("the model is encrypted with %s %s", o.ServerSideEncryption, aws.ToString(o.SSEKMSKeyId))
	}
	if *got.TrainingJobArn != arn || got.HyperParameters["epochs"] != "3" || len(got.InputDataConfig) != 3 || got.TrainingEndTime == nil || got.BillableTimeInSeconds == nil {
		w.Errorf("described as %+v", got)
	}
	if _, err := os.Stat("/opt/ml/input/data/training"); err == nil {
		w.Error("/opt/ml of this machine has the job's data")
	}
}

func testFailures(w *world) {
	long := strings.Repeat("é", 2000)
	for name, c := range map[string]struct{ script, reason string }{
		"no-reason":    {"echo bad >/opt/ml/model/w; echo kept >/opt/ml/output/data/o; exit 3", "AlgorithmError: , exit code: 3"},
		"reason":       {"echo it went wrong >/opt/ml/output/failure; exit 1", "AlgorithmError: it went wrong\n, exit code: 1"},
		"long-reason":  {"printf " + long + " >/opt/ml/output/failure; exit 1", "AlgorithmError: " + long[:2048] + ", exit code: 1"},
		"not-found":    {"exec /no/such/program", "AlgorithmError: , exit code: 127"},
		"signal":       {"sh -c 'kill -9 $$'; exit $?", "AlgorithmError: , exit code: 137"},
		"reason-but-0": {"echo ignored >/opt/ml/output/failure", ""},
	} {
		name = "failing-" + name
		w.create(w.request(name, c.script))
		got, passed := w.wait(name)
		if c.reason == "" {
			if got.TrainingJobStatus != types.TrainingJobStatusCompleted || got.FailureReason != nil {
				w.Errorf("%s: %s %q", name, got.TrainingJobStatus, aws.ToString(got.FailureReason))
			}
			continue
		}
		if got.TrainingJobStatus != types.TrainingJobStatusFailed || passed != "Starting Training Failed" || aws.ToString(got.FailureReason) != c.reason {
			w.Errorf("%s: %s by %s: %q, want %q", name, got.TrainingJobStatus, passed, aws.ToString(got.FailureReason), c.reason)
		}
		if got.ModelArtifacts.S3ModelArtifacts != nil {
			w.Errorf("%s has a model", name)
		}
	}
	if files := w.untar("out/failing-no-reason/output/output.tar.gz"); !slices.Equal(files, []string{"o=kept\n"}) {
		w.Errorf("the output of a failed job holds %q", files)
	}
}

func testStop(w *world) {
	w.create(w.request("stop-good", `trap 'echo saving; echo half >/opt/ml/model/w; exit 0' TERM; echo on; while :; do sleep 0.05; done`))
	w.create(w.request("stop-deaf", `trap '' TERM; (trap '' TERM; echo child; sleep 50) & echo on; while :; do sleep 0.05; done`))
	for _, name := range []string{"stop-good", "stop-deaf"} {
		w.until(name, "on")
		began := time.Now()
		if _, err := w.sm.StopTrainingJob(w.ctx(), &sagemaker.StopTrainingJobInput{TrainingJobName: &name}); err != nil {
			w.Fatal(err)
		}
		if got := w.describe(name); got.TrainingJobStatus == types.TrainingJobStatusInProgress {
			w.Errorf("%s is %s after StopTrainingJob", name, got.TrainingJobStatus)
		}
		got, passed := w.wait(name)
		if got.TrainingJobStatus != types.TrainingJobStatusStopped || passed != "Starting Training Stopping Uploading Stopped" {
			w.Errorf("%s: %s by %s", name, got.TrainingJobStatus, passed)
		}
		if took := time.Since(began); (took >= grace) != (name == "stop-deaf") {
			w.Errorf("%s took %v to stop, the grace is %v", name, took, grace)
		}
		_, err := w.sm.StopTrainingJob(w.ctx(), &sagemaker.StopTrainingJobInput{TrainingJobName: &name})
		if code(err) != "ValidationException" || !strings.Contains(err.Error(), "The request was rejected because the training job is in status Stopped.") {
			w.Errorf("a second stop: %v", err)
		}
	}
	if files := w.untar("out/stop-good/output/model.tar.gz"); !slices.Equal(files, []string{"w=half\n"}) {
		w.Errorf("the model of the stopped job holds %q", files)
	}
}

func testMaxRuntime(w *world) {
	in := w.request("too-long", `trap 'exit 5' TERM; while :; do sleep 0.05; done`)
	in.StoppingCondition.MaxRuntimeInSeconds = aws.Int32(1)
	w.create(in)
	got, passed := w.wait("too-long")
	if got.TrainingJobStatus != types.TrainingJobStatusStopped || got.SecondaryStatus != types.SecondaryStatusMaxRuntimeExceeded ||
		passed != "Starting Training Stopping Uploading MaxRuntimeExceeded" || got.FailureReason != nil {
		w.Errorf("%s %s by %s", got.TrainingJobStatus, got.SecondaryStatus, passed)
	}
}

func testHosts(w *world) {
	for i := range 5 {
		w.put(fmt.Sprintf("shards/%d", i), fmt.Sprint(i))
	}
	in := w.request("two", `cd /opt/ml/input; echo $(hostname) $(ls data/sharded) all $(ls data/full)
		grep -o '"current_host": "[^"]*"' config/resourceconfig.json; getent hosts algo-2; cp data/sharded/* /opt/ml/model`)
	in.ResourceConfig.InstanceCount = aws.Int32(2)
	sharded := channel("sharded", "s3://"+w.bucket+"/shards/", types.S3DataTypeS3Prefix)
	sharded.DataSource.S3DataSource.S3DataDistributionType = types.S3DataDistributionShardedByS3Key
	in.InputDataConfig = []types.Channel{sharded, channel("full", "s3://"+w.bucket+"/shards/", types.S3DataTypeS3Prefix)}
	w.create(in)
	got, _ := w.wait("two")
	lines := w.srv.Logs("two")
	for _, want := range []string{"algo-1 0 2 4 all 0 1 2 3 4", "algo-2 1 3 all 0 1 2 3 4",
		`"current_host": "algo-1"`, `"current_host": "algo-2"`, "127.0.0.2       algo-2"} {
		if !slices.Contains(lines, want) {
			w.Errorf("no host logged %q", want)
		}
	}
	if got.TrainingJobStatus != types.TrainingJobStatusCompleted || w.Failed() {
		w.Errorf("%s %s; logged\n%s", got.TrainingJobStatus, aws.ToString(got.FailureReason), strings.Join(lines, "\n"))
	}
	if files := w.untar("out/two/output/model.tar.gz"); !slices.Equal(files, []string{"0=0", "1=1", "2=2", "3=3", "4=4"}) {
		w.Errorf("the model of both hosts holds %q", files)
	}

	in = w.request("one-fails", `trap 'echo told; exit 0' TERM; echo on
		if [ $(hostname) = algo-2 ]; then sleep 0.5; echo broken >/opt/ml/output/failure; exit 9; fi; while :; do sleep 0.05; done`)
	in.ResourceConfig.InstanceCount = aws.Int32(2)
	w.create(in)
	got, _ = w.wait("one-fails")
	if got.TrainingJobStatus != types.TrainingJobStatusFailed || aws.ToString(got.FailureReason) != "AlgorithmError: broken\n, exit code: 9" ||
		!slices.Contains(w.srv.Logs("one-fails"), "told") {
		w.Errorf("%s %s, logged %q", got.TrainingJobStatus, aws.ToString(got.FailureReason), w.srv.Logs("one-fails"))
	}

	in = w.request("groups", `echo $(hostname) $(ls /opt/ml/input/data)`)
	in.ResourceConfig = &types.ResourceConfig{VolumeSizeInGB: aws.Int32(1), InstanceGroups: []types.InstanceGroup{
		{InstanceGroupName: aws.String("cpu"), InstanceType: types.TrainingInstanceTypeMlM5Large, InstanceCount: aws.Int32(1)},
		{InstanceGroupName: aws.String("gpu"), InstanceType: types.TrainingInstanceTypeMlG5Xlarge, InstanceCount: aws.Int32(1)}}}
	grouped := channel("c", "s3://"+w.bucket+"/shards/", types.S3DataTypeS3Prefix)
	grouped.DataSource.S3DataSource.InstanceGroupNames = []string{"gpu"}
	in.InputDataConfig = []types.Channel{grouped}
	w.create(in)
	if got, _ := w.wait("groups"); got.TrainingJobStatus != types.TrainingJobStatusCompleted ||
		!slices.Contains(w.srv.Logs("groups"), "algo-1") || !slices.Contains(w.srv.Logs("groups"), "algo-2 c") {
		w.Errorf("%s, logged %q", got.TrainingJobStatus, w.srv.Logs("groups"))
	}
}

func testMissingData(w *world) {
	w.put("there", "1")
	w.put("gone.manifest", `[{"prefix": "s3://`+w.bucket+`/"}, "there", "not-there"]`)
	w.put("out.manifest", `[{"prefix": "s3://`+w.bucket+`/"}, "../there"]`)
	w.put("slashes.manifest", `[{"prefix": "s3://`+w.bucket+`/a/"}, "/there"]`)
	w.put("bad.manifest", `{"prefix": "s3://`+w.bucket+`/a/"}`)
	for key, reason := range map[string]string{
		"no.manifest":      "Unable to download object s3://BUCKET/no.manifest (NoSuchKey: The specified key does not exist.)",
		"gone.manifest":    "Unable to download object s3://BUCKET/not-there (NoSuchKey: The specified key does not exist.)",
		"out.manifest":     "Failed to download data. S3 key: s3://BUCKET/../there leaves the channel's folder",
		"slashes.manifest": "Failed to download data. S3 key: s3://BUCKET/a//there has an illegal char sub-sequence '//' in it",
		"bad.manifest":     "the manifest file s3://BUCKET/bad.manifest is malformed",
	} {
		name := "missing-" + strings.TrimSuffix(key, ".manifest")
		in := w.request(name, "echo started")
		in.InputDataConfig = []types.Channel{channel("c", "s3://"+w.bucket+"/"+key, types.S3DataTypeManifestFile)}
		w.create(in)
		got, passed := w.wait(name)
		want := "ClientError: Data download failed:" + strings.ReplaceAll(reason, "BUCKET", w.bucket)
		if passed != "Starting Downloading Failed" || !strings.HasPrefix(aws.ToString(got.FailureReason), want) || len(w.srv.Logs(name)) > 0 {
			w.Errorf("%s: %s: %s, want %s; logged %q", name, passed, aws.ToString(got.FailureReason), want, w.srv.Logs(name))
		}
	}
	in := w.request("missing", "echo started")
	in.InputDataConfig = []types.Channel{channel("c", "s3://"+w.bucket+"/nothing/", types.S3DataTypeS3Prefix)}
	_, err := w.sm.CreateTrainingJob(w.ctx(), in)
	if code(err) != "ValidationException" || !strings.Contains(err.Error(), "No S3 objects found under S3 URL") {
		w.Errorf("a prefix without objects: %v", err)
	}
}

func testRole(w *world) {
	w.put("secret", "sesame")
	in := request("role", w.bucket, os.Args[0], w.bucket, "secret")
	in.Environment = map[string]string{"AWS_ENDPOINT_URL_S3": w.minio.URL}
	w.create(in)
	if got, _ := w.wait("role"); got.TrainingJobStatus != types.TrainingJobStatusCompleted || !slices.Contains(w.srv.Logs("role"), "read sesame") {
		w.Errorf("%s, logged %q", got.TrainingJobStatus, w.srv.Logs("role"))
	}
}
