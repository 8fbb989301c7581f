// Package outputs makes versions of datasets from the sealed outputs of processing jobs.
package outputs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
	"github.com/vaultpack/vaultpack/vault"
)

// A Job is a processing job with outputs, as SageMaker describes it: what it was
// created with cannot be changed.
type Job struct {
	Name    string
	Dataset string // that the job belongs to
	ARN     string
	Hosts   int
	Outputs []Output
	place   string // of the outputs in S3
}

// An Output is a folder of a job that becomes the next version of a dataset.
type Output struct {
	Name, Dataset string
}

// ErrNoOutputs is returned for a job without outputs sealed by vaultpack.
var ErrNoOutputs = errors.New("it has no sealed outputs")

// A NotCompletedError reports that a job has no outputs to commit, since it has
// failed or is not finished.
type NotCompletedError struct{ Job, Status string }

func (e *NotCompletedError) Error() string {
	return fmt.Sprintf("the job %s has the status %s, and only a Completed job has outputs", e.Job, e.Status)
}

// Find asks SageMaker for a job that is Completed.
func Find(ctx context.Context, api trainer.ProcessingAPI, name string) (*Job, error) {
	if err := given.Check(ctx, api != nil && name != "", errors.New("outputs: no API of SageMaker, or no job")); err != nil {
		return nil, err
	}
	d, err := trainer.DescribeProcessing(ctx, api, name)
	if err != nil {
		return nil, err
	}
	if d.ProcessingJobStatus != types.ProcessingJobStatusCompleted {
		return nil, &NotCompletedError{name, string(d.ProcessingJobStatus)}
	}
	j, err := read(d)
	if err != nil {
		return nil, fmt.Errorf("the processing job %s: %w", name, err)
	}
	return j, nil
}

// read parses the arguments made by PlanProcessing.
func read(d *sagemaker.DescribeProcessingJobOutput) (*Job, error) {
	j := &Job{Name: aws.ToString(d.ProcessingJobName), ARN: aws.ToString(d.ProcessingJobArn), Hosts: 1}
	if r := d.ProcessingResources; r != nil && r.ClusterConfig != nil {
		j.Hosts = max(int(aws.ToInt32(r.ClusterConfig.InstanceCount)), 1)
	}
	if d.AppSpecification == nil {
		return nil, ErrNoOutputs
	}
	args := d.AppSpecification.ContainerArguments
	if i := slices.Index(args, "--"); i >= 0 { // then comes the command
		args = args[:i]
	}
	for i := 0; i+1 < len(args); i++ {
		switch args[i] {
		case "--output":
			name, set, ok := strings.Cut(args[i+1], "=")
			if err := dataset.CheckName(set); err != nil || !ok {
				return nil, fmt.Errorf("its argument %q is no output: %w", args[i+1], errors.Join(err, ErrNoOutputs))
			}
			j.Outputs = append(j.Outputs, Output{name, set})
		case "--model-key":
			rest, _ := strings.CutPrefix(args[i+1], objects.JobsFolder)
			j.Dataset, _, _ = strings.Cut(rest, "/")
			if err := dataset.CheckName(j.Dataset); err != nil || args[i+1] != objects.JobFolder(j.Dataset, j.Name)+sealedmodel.KeyName {
				return nil, fmt.Errorf("its argument %q is not a key: %w", args[i+1], errors.Join(err, ErrNoOutputs))
			}
		}
	}
	if len(j.Outputs) == 0 || j.Dataset == "" {
		return nil, ErrNoOutputs
	}
	if d.ProcessingOutputConfig != nil && len(d.ProcessingOutputConfig.Outputs) > 0 && d.ProcessingOutputConfig.Outputs[0].S3Output != nil {
		o := d.ProcessingOutputConfig.Outputs[0]
		j.place, _ = strings.CutSuffix(aws.ToString(o.S3Output.S3Uri), "/"+aws.ToString(o.OutputName))
	}
	return j, nil
}

// folder returns the folder of the outputs in the vault.
func (j *Job) folder() string { return objects.JobFolder(j.Dataset, j.Name) + "output" }

// check returns an error unless the outputs are in the vault.
func (j *Job) check(v *vault.Vault) error {
	loc, err := trainer.Location(v.Location)
	if err != nil {
		return err
	}
	if want := "s3://" + loc.Bucket + "/" + loc.Prefix + j.folder(); j.place != want {
		return fmt.Errorf("the outputs of job %s are at %s, which is not in the vault %s: name the vault of the job with --vault", j.Name, j.place, v.Location)
	}
	return nil
}

func hostName(i int) string { return "algo-" + strconv.Itoa(i) }
