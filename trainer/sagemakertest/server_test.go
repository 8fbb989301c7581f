package sagemakertest_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/trainer/sagemakertest"
)

const (
	role   = "arn:aws:iam::111122223333:role/training"
	image  = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/trainer:1"
	region = "eu-west-1"
)

// A world is a fake SageMaker, the S3 server behind it, and clients of all.
type world struct {
	testing.TB
	srv    *sagemakertest.Server
	minio  *s3test.Server
	sm     *sagemaker.Client
	logs   *cloudwatchlogs.Client
	s3     *s3.Client
	bucket string
}

func sdk(srv *sagemakertest.Server) (*sagemaker.Client, *cloudwatchlogs.Client) {
	who := credentials.NewStaticCredentialsProvider("someone", "not a secret", "")
	return sagemaker.New(sagemaker.Options{Region: region, Credentials: who, BaseEndpoint: &srv.URL}),
		cloudwatchlogs.New(cloudwatchlogs.Options{Region: region, Credentials: who, BaseEndpoint: &srv.URL})
}

func newWorld(t testing.TB, configure ...func(*sagemakertest.Config)) *world {
	t.Helper()
	if err := sagemakertest.Available(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	w := &world{TB: t, minio: s3test.MinIO(t, false)}
	w.s3, w.bucket = w.minio.Client(t), w.minio.Bucket(t)
	cfg := sagemakertest.Config{
		S3:        w.minio.URL,
		S3Region:  w.minio.Region,
		Roles:     map[string]aws.Credentials{role: {AccessKeyID: w.minio.AccessKey, SecretAccessKey: w.minio.SecretKey}},
		StopGrace: 5 * time.Second,
	}
	for _, f := range configure {
		f(&cfg)
	}
	srv, err := sagemakertest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	w.srv = srv
	w.sm, w.logs = sdk(srv)
	return w
}

func (w *world) put(key, content string) {
	w.Helper()
	_, err := w.s3.PutObject(w.ctx(), &s3.PutObjectInput{Bucket: &w.bucket, Key: &key, Body: strings.NewReader(content)})
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) get(key string) *s3.GetObjectOutput {
	w.Helper()
	out, err := w.s3.GetObject(w.ctx(), &s3.GetObjectInput{Bucket: &w.bucket, Key: &key})
	if err != nil {
		w.Fatalf("%s: %v", key, err)
	}
	return out
}

// untar is what a .tar.gz holds, as name=content.
func (w *world) untar(key string) (files []string) {
	w.Helper()
	out := w.get(key)
	defer out.Body.Close()
	z, err := gzip.NewReader(out.Body)
	if err != nil {
		w.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		hd, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			w.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			w.Fatal(err)
		}
		files = append(files, hd.Name+"="+string(b))
	}
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	w.Cleanup(cancel)
	return ctx
}

// request is a job that runs the shell script.
func (w *world) request(name, script string) *sagemaker.CreateTrainingJobInput {
	w.Helper()
	file := filepath.Join(w.TempDir(), "job.sh")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		w.Fatal(err)
	}
	return request(name, w.bucket, "/bin/sh", file)
}

func request(name, bucket string, entrypoint ...string) *sagemaker.CreateTrainingJobInput {
	return &sagemaker.CreateTrainingJobInput{
		TrainingJobName: &name,
		RoleArn:         aws.String(role),
		AlgorithmSpecification: &types.AlgorithmSpecification{
			TrainingImage: aws.String(image), TrainingInputMode: types.TrainingInputModeFile,
			ContainerEntrypoint: entrypoint,
		},
		OutputDataConfig:  &types.OutputDataConfig{S3OutputPath: aws.String("s3://" + bucket + "/out")},
		ResourceConfig:    &types.ResourceConfig{InstanceType: types.TrainingInstanceTypeMlM5Large, InstanceCount: aws.Int32(1), VolumeSizeInGB: aws.Int32(30)},
		StoppingCondition: &types.StoppingCondition{MaxRuntimeInSeconds: aws.Int32(60)},
	}
}

func channel(name, uri string, kind types.S3DataType) types.Channel {
	return types.Channel{ChannelName: &name, DataSource: &types.DataSource{S3DataSource: &types.S3DataSource{S3Uri: &uri, S3DataType: kind}}}
}

func (w *world) create(in *sagemaker.CreateTrainingJobInput) {
	w.Helper()
	if _, err := w.sm.CreateTrainingJob(w.ctx(), in); err != nil {
		w.Fatal(err)
	}
}

func (w *world) describe(name string) *sagemaker.DescribeTrainingJobOutput {
	w.Helper()
	out, err := w.sm.DescribeTrainingJob(w.ctx(), &sagemaker.DescribeTrainingJobInput{TrainingJobName: &name})
	if err != nil {
		w.Fatal(err)
	}
	return out
}

// wait waits for the end and gives the description, and the statuses passed.
func (w *world) wait(name string) (*sagemaker.DescribeTrainingJobOutput, string) {
	w.Helper()
	if _, _, err := w.srv.Wait(w.ctx(), name); err != nil {
		w.Fatalf("%v; logged: %q", err, w.srv.Logs(name))
	}
	out := w.describe(name)
	var passed []string
	for i, tr := range out.SecondaryStatusTransitions {
		passed = append(passed, string(tr.Status))
		if tr.EndTime == nil || tr.EndTime.Before(*tr.StartTime) || i > 0 && !tr.StartTime.Equal(*out.SecondaryStatusTransitions[i-1].EndTime) {
			w.Errorf("the transition %d to %s does not follow the one before: %v to %v", i, tr.Status, tr.StartTime, tr.EndTime)
		}
	}
	return out, strings.Join(passed, " ")
}

// until waits until the job has logged the line.
func (w *world) until(name, line string) {
	w.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if slices.Contains(w.srv.Logs(name), line) {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("%s has not logged %q but %q; it is %s", name, line, w.srv.Logs(name), w.describe(name).SecondaryStatus)
		}
	}
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

// A job sees what SageMaker gives it, and what it leaves is put into S3.
func TestJob(t *testing.T) {
	w := newWorld(t, func(c *sagemakertest.Config) { c.Env = map[string]string{"EXTRA": "by the tester"} })
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
		t.Errorf("%s by %s: %s", got.TrainingJobStatus, passed, aws.ToString(got.FailureReason))
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
		t.Errorf("logged\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if uri := "s3://" + w.bucket + "/out/job-1/output/model.tar.gz"; aws.ToString(got.ModelArtifacts.S3ModelArtifacts) != uri {
		t.Errorf("the model is at %v, want %s", got.ModelArtifacts.S3ModelArtifacts, uri)
	}
	if files := w.untar("out/job-1/output/model.tar.gz"); !slices.Equal(files, []string{"sub/=", "sub/w=weights\n"}) {
		t.Errorf("the model holds %q", files)
	}
	if files := w.untar("out/job-1/output/output.tar.gz"); !slices.Equal(files, []string{"loss.txt=loss\n"}) {
		t.Errorf("the output holds %q", files)
	}
	if o := w.get("out/job-1/output/model.tar.gz"); o.ServerSideEncryption != "aws:kms" || !strings.HasSuffix(aws.ToString(o.SSEKMSKeyId), w.minio.KMSKey) {
		t.Errorf("the model is encrypted with %s %s", o.ServerSideEncryption, aws.ToString(o.SSEKMSKeyId))
	}
	if *got.TrainingJobArn != arn || got.HyperParameters["epochs"] != "3" || len(got.InputDataConfig) != 3 || got.TrainingEndTime == nil || got.BillableTimeInSeconds == nil {
		t.Errorf("described as %+v", got)
	}
	if _, err := os.Stat("/opt/ml/input/data/training"); err == nil {
		t.Error("/opt/ml of this machine has the job's data")
	}
}

var _ = bytes.MinRead
