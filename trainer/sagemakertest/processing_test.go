package sagemakertest_test

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/trainer/sagemakertest"
)

func processing(name, bucket string, entrypoint ...string) *sagemaker.CreateProcessingJobInput {
	return &sagemaker.CreateProcessingJobInput{
		ProcessingJobName: &name, RoleArn: aws.String(role),
		AppSpecification:    &types.AppSpecification{ImageUri: aws.String(image), ContainerEntrypoint: entrypoint},
		ProcessingResources: &types.ProcessingResources{ClusterConfig: &types.ProcessingClusterConfig{InstanceType: types.ProcessingInstanceTypeMlM5Large, InstanceCount: aws.Int32(1), VolumeSizeInGB: aws.Int32(30)}},
		ProcessingOutputConfig: &types.ProcessingOutputConfig{Outputs: []types.ProcessingOutput{{OutputName: aws.String("out"), S3Output: &types.ProcessingS3Output{
			S3Uri: aws.String("s3://" + bucket + "/out/" + name), LocalPath: aws.String("/opt/ml/processing/out"), S3UploadMode: types.ProcessingS3UploadModeEndOfJob}}}},
		StoppingCondition: &types.ProcessingStoppingCondition{MaxRuntimeInSeconds: aws.Int32(60)},
	}
}

func processingInput(name, path, uri string) types.ProcessingInput {
	return types.ProcessingInput{InputName: &name, S3Input: &types.ProcessingS3Input{S3Uri: &uri, LocalPath: &path, S3DataType: types.ProcessingS3DataTypeS3Prefix, S3InputMode: types.ProcessingS3InputModeFile}}
}

// What the service refuses of a processing job is refused, in its words where they are known.
func TestProcessingValidation(t *testing.T) {
	srv, err := sagemakertest.Start(sagemakertest.Config{S3: "http://127.0.0.1:1", Roles: map[string]aws.Credentials{role: {AccessKeyID: "a", SecretAccessKey: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	srv.Outcome("*", sagemakertest.Outcome{Status: types.TrainingJobStatusCompleted})
	sm, _ := sdk(srv)
	create := func(edit func(*sagemaker.CreateProcessingJobInput)) error {
		in := processing("job", "bucket", "/bin/true")
		edit(in)
		_, err := sm.CreateProcessingJob(t.Context(), in)
		return err
	}
	for want, edit := range map[string]func(*sagemaker.CreateProcessingJobInput){
		"appSpecification.containerEntrypoint.1.member": func(in *sagemaker.CreateProcessingJobInput) {
			in.AppSpecification.ContainerEntrypoint = []string{strings.Repeat("x", 257)}
		},
		"value less than or equal to 604800": func(in *sagemaker.CreateProcessingJobInput) {
			in.StoppingCondition.MaxRuntimeInSeconds = aws.Int32(604801)
		},
		"value less than or equal to 100": func(in *sagemaker.CreateProcessingJobInput) {
			in.ProcessingResources.ClusterConfig.InstanceCount = aws.Int32(101)
		},
		"length less than or equal to 10": func(in *sagemaker.CreateProcessingJobInput) {
			in.ProcessingInputs = slices.Repeat([]types.ProcessingInput{processingInput("a", "/opt/ml/processing/a", "s3://b/c")}, 11)
		},
		"'environment'": func(in *sagemaker.CreateProcessingJobInput) {
			in.Environment = map[string]string{"A": strings.Repeat("x", 257)}
		},
		"begins with /opt/ml/processing/": func(in *sagemaker.CreateProcessingJobInput) {
			in.ProcessingInputs = []types.ProcessingInput{processingInput("a", "/opt/ml/input/data/a", "s3://b/c")}
		},
		"used more than once": func(in *sagemaker.CreateProcessingJobInput) {
			in.ProcessingInputs = []types.ProcessingInput{processingInput("a", "/opt/ml/processing/out", "s3://b/c")}
		},
		"not done by sagemakertest": func(in *sagemaker.CreateProcessingJobInput) {
			in.ProcessingOutputConfig.Outputs[0].S3Output.S3UploadMode = types.ProcessingS3UploadModeContinuous
		},
		"Could not assume role": func(in *sagemaker.CreateProcessingJobInput) { in.RoleArn = aws.String(role + "-2") },
		"local storage": func(in *sagemaker.CreateProcessingJobInput) {
			in.ProcessingResources.ClusterConfig.InstanceType, in.ProcessingResources.ClusterConfig.VolumeKmsKeyId = types.ProcessingInstanceTypeMlG4dnXlarge, aws.String("k")
		},
	} {
		if err := create(edit); code(err) != "ValidationException" || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if err := create(func(*sagemaker.CreateProcessingJobInput) {}); err != nil {
		t.Fatal(err)
	}
	if err := create(func(*sagemaker.CreateProcessingJobInput) {}); code(err) != "ResourceInUse" {
		t.Errorf("a name twice: %v", err)
	}
	if _, err := sm.CreateTrainingJob(t.Context(), request("job", "bucket", "/bin/true")); err != nil {
		t.Errorf("a training job of the name: %v", err)
	}
	if _, err := sm.DescribeProcessingJob(t.Context(), &sagemaker.DescribeProcessingJobInput{ProcessingJobName: aws.String("none")}); code(err) != "ValidationException" {
		t.Errorf("no such job: %v", err)
	}
	list, err := sm.ListProcessingJobs(t.Context(), &sagemaker.ListProcessingJobsInput{NameContains: aws.String("jo")})
	if err != nil || len(list.ProcessingJobSummaries) != 1 || *list.ProcessingJobSummaries[0].ProcessingJobName != "job" {
		t.Errorf("%v, %v", list, err)
	}
}

// A processing job finds its inputs where the request says, and its outputs are stored.
func TestProcessing(t *testing.T) {
	w := newWorld(t)
	w.put("in/a", "1")
	w.put("in/b", "2")
	in := processing("two", w.bucket, "/bin/sh", "-c", `eval "$1;$2"`, "sh",
		`cd /opt/ml;ls processing/in;echo $(cat config/resourceconfig.json)>processing/out/$(hostname)`,
		`grep -q processing-job/two config/processingjobconfig.json&&ln -s a processing/out/link;test -z "$TRAINING_JOB_NAME"&&echo "said by $(hostname);">output/message`)
	in.ProcessingResources.ClusterConfig.InstanceCount = aws.Int32(2)
	in.ProcessingInputs = []types.ProcessingInput{processingInput("in", "/opt/ml/processing/in", "s3://"+w.bucket+"/in/")}
	in.ProcessingInputs[0].S3Input.S3DataDistributionType = types.ProcessingS3DataDistributionTypeShardedbys3key
	got := w.process(in)
	if got.ProcessingJobStatus != types.ProcessingJobStatusCompleted || len(*got.ExitMessage) != len("said by algo-1;\n")*2 || got.ProcessingEndTime == nil {
		t.Errorf("%+v, logged %q", got, w.srv.Logs("two"))
	}
	if logs := w.srv.Logs("two"); !slices.Contains(logs, "a") || !slices.Contains(logs, "b") || len(logs) != 2 {
		t.Errorf("logged %q", logs)
	}
	out := w.get("out/two/algo-2")
	b, err := io.ReadAll(out.Body)
	out.Body.Close()
	if want := `{ "current_host": "algo-2", "hosts": [ "algo-1", "algo-2" ] }` + "\n"; err != nil || string(b) != want {
		t.Errorf("%q, %v", b, err)
	}

	got = w.process(processing("fails", w.bucket, "/bin/sh", "-c", `echo why >/opt/ml/output/message; echo x >/opt/ml/processing/out/x; exit 3`))
	if got.ProcessingJobStatus != types.ProcessingJobStatusFailed || *got.ExitMessage != "why\n" || !strings.HasPrefix(*got.FailureReason, "AlgorithmError") {
		t.Errorf("%+v", got)
	}
	w.get("out/fails/x").Body.Close()
}

func (w *world) process(in *sagemaker.CreateProcessingJobInput) *sagemaker.DescribeProcessingJobOutput {
	w.Helper()
	if _, err := w.sm.CreateProcessingJob(w.ctx(), in); err != nil {
		w.Fatal(err)
	}
	if _, _, err := w.srv.Wait(w.ctx(), *in.ProcessingJobName); err != nil {
		w.Fatal(err)
	}
	out, err := w.sm.DescribeProcessingJob(w.ctx(), &sagemaker.DescribeProcessingJobInput{ProcessingJobName: in.ProcessingJobName})
	if err != nil {
		w.Fatal(err)
	}
	return out
}
