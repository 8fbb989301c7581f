package sagemakertest_test

import (
	"archive/tar"
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
	grace  = time.Second
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

// needsNamespaces skips the test where no job can be run, but not in CI.
func needsNamespaces(t testing.TB) {
	t.Helper()
	if err := sagemakertest.Available(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	needsNamespaces(t)
	w := &world{TB: t, minio: s3test.MinIO(t, false)}
	w.s3, w.bucket = w.minio.Client(t), w.minio.Bucket(t)
	cfg := sagemakertest.Config{
		S3:              w.minio.URL,
		S3Region:        w.minio.Region,
		Roles:           map[string]aws.Credentials{role: {AccessKeyID: w.minio.AccessKey, SecretAccessKey: w.minio.SecretKey}},
		Env:             map[string]string{"EXTRA": "by the tester"},
		StopGrace:       grace,
		Pause:           50 * time.Millisecond,
		CheckpointEvery: 50 * time.Millisecond,
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
