package trainer

import (
	"cmp"
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/internal/given"
)

// ProcessingLogGroup is the log group to which SageMaker writes the output of processing
// jobs.
const ProcessingLogGroup = "/aws/sagemaker/ProcessingJobs"

// ProcessingAPI is the part of SageMaker that is called for processing jobs.
// *sagemaker.Client implements it.
type ProcessingAPI interface {
	CreateProcessingJob(context.Context, *sagemaker.CreateProcessingJobInput, ...func(*sagemaker.Options)) (*sagemaker.CreateProcessingJobOutput, error)
	DescribeProcessingJob(context.Context, *sagemaker.DescribeProcessingJobInput, ...func(*sagemaker.Options)) (*sagemaker.DescribeProcessingJobOutput, error)
	ListProcessingJobs(context.Context, *sagemaker.ListProcessingJobsInput, ...func(*sagemaker.Options)) (*sagemaker.ListProcessingJobsOutput, error)
	StopProcessingJob(context.Context, *sagemaker.StopProcessingJobInput, ...func(*sagemaker.Options)) (*sagemaker.StopProcessingJobOutput, error)
}

// ProcessingJobs returns an API that presents processing jobs as training jobs: a [Watcher]
// follows them, and [List], [Describe] and [Stop] work on them. It cannot create jobs. In a
// description, the exit message follows the reason for a failure.
func ProcessingJobs(api ProcessingAPI) API {
	if api == nil {
		return nil
	}
	return processingJobs{api}
}

type processingJobs struct{ api ProcessingAPI }

func (p processingJobs) CreateTrainingJob(context.Context, *sagemaker.CreateTrainingJobInput, ...func(*sagemaker.Options)) (*sagemaker.CreateTrainingJobOutput, error) {
	return nil, errNoLauncher
}

func (p processingJobs) DescribeTrainingJob(ctx context.Context, in *sagemaker.DescribeTrainingJobInput, opts ...func(*sagemaker.Options)) (*sagemaker.DescribeTrainingJobOutput, error) {
	d, err := p.api.DescribeProcessingJob(ctx, &sagemaker.DescribeProcessingJobInput{ProcessingJobName: in.TrainingJobName}, opts...)
	if err != nil {
		return nil, explain("DescribeProcessingJob", aws.ToString(in.TrainingJobName), err)
	}
	out := &sagemaker.DescribeTrainingJobOutput{
		TrainingJobName: d.ProcessingJobName, TrainingJobArn: d.ProcessingJobArn, RoleArn: d.RoleArn, Environment: d.Environment,
		CreationTime: d.CreationTime, LastModifiedTime: d.LastModifiedTime, TrainingStartTime: d.ProcessingStartTime, TrainingEndTime: d.ProcessingEndTime,
		TrainingJobStatus: types.TrainingJobStatus(d.ProcessingJobStatus), SecondaryStatus: types.SecondaryStatus(d.ProcessingJobStatus),
		// Nothing shows when the inputs have been read, so a key channel stays until the end.
		RetryStrategy: &types.RetryStrategy{MaximumRetryAttempts: aws.Int32(1)},
	}
	if a := d.AppSpecification; a != nil {
		out.AlgorithmSpecification = &types.AlgorithmSpecification{TrainingImage: a.ImageUri, ContainerEntrypoint: a.ContainerEntrypoint, ContainerArguments: a.ContainerArguments}
	}
	if r := d.ProcessingResources; r != nil && r.ClusterConfig != nil {
		out.ResourceConfig = &types.ResourceConfig{InstanceCount: r.ClusterConfig.InstanceCount, InstanceType: types.TrainingInstanceType(r.ClusterConfig.InstanceType)}
	}
	for _, i := range d.ProcessingInputs {
		c := types.Channel{ChannelName: i.InputName}
		if i.S3Input != nil {
			c.DataSource = &types.DataSource{S3DataSource: &types.S3DataSource{S3Uri: i.S3Input.S3Uri}}
		}
		out.InputDataConfig = append(out.InputDataConfig, c)
	}
	reason, said := aws.ToString(d.FailureReason), aws.ToString(d.ExitMessage)
	if reason != "" && said != "" {
		reason += ": "
	}
	if reason += said; reason != "" && d.ProcessingJobStatus != types.ProcessingJobStatusCompleted {
		out.FailureReason = &reason
	}
	out.SecondaryStatusTransitions = transitionsOf(d)
	return out, nil
}

// transitionsOf returns the statuses that a processing job has had. SageMaker reports
// only the current one.
func transitionsOf(d *sagemaker.DescribeProcessingJobOutput) []types.SecondaryStatusTransition {
	was := []types.ProcessingJobStatus{types.ProcessingJobStatusInProgress}
	switch d.ProcessingJobStatus {
	case types.ProcessingJobStatusInProgress:
	case types.ProcessingJobStatusStopped:
		was = append(was, types.ProcessingJobStatusStopping, types.ProcessingJobStatusStopped)
	default:
		was = append(was, d.ProcessingJobStatus)
	}
	var all []types.SecondaryStatusTransition
	for i, s := range was {
		t := types.SecondaryStatusTransition{Status: types.SecondaryStatus(s), StartTime: d.CreationTime}
		if i == len(was)-1 && i > 0 {
			t.StartTime, t.StatusMessage = cmp.Or(d.ProcessingEndTime, d.LastModifiedTime), d.ExitMessage
		} else if i > 0 {
			t.StartTime = d.LastModifiedTime
		}
		all = append(all, t)
	}
	return all
}

func (p processingJobs) ListTrainingJobs(ctx context.Context, in *sagemaker.ListTrainingJobsInput, opts ...func(*sagemaker.Options)) (*sagemaker.ListTrainingJobsOutput, error) {
	got, err := p.api.ListProcessingJobs(ctx, &sagemaker.ListProcessingJobsInput{SortBy: types.SortBy(in.SortBy), SortOrder: types.SortOrder(in.SortOrder),
		StatusEquals: types.ProcessingJobStatus(in.StatusEquals), NameContains: in.NameContains, MaxResults: in.MaxResults, NextToken: in.NextToken}, opts...)
	if err != nil {
		return nil, explain("ListProcessingJobs", "", err)
	}
	out := &sagemaker.ListTrainingJobsOutput{NextToken: got.NextToken}
	for _, s := range got.ProcessingJobSummaries {
		out.TrainingJobSummaries = append(out.TrainingJobSummaries, types.TrainingJobSummary{TrainingJobName: s.ProcessingJobName, TrainingJobArn: s.ProcessingJobArn,
			TrainingJobStatus: types.TrainingJobStatus(s.ProcessingJobStatus), SecondaryStatus: types.SecondaryStatus(s.ProcessingJobStatus),
			CreationTime: s.CreationTime, LastModifiedTime: s.LastModifiedTime, TrainingEndTime: s.ProcessingEndTime})
	}
	return out, nil
}

func (p processingJobs) StopTrainingJob(ctx context.Context, in *sagemaker.StopTrainingJobInput, opts ...func(*sagemaker.Options)) (*sagemaker.StopTrainingJobOutput, error) {
	_, err := p.api.StopProcessingJob(ctx, &sagemaker.StopProcessingJobInput{ProcessingJobName: in.TrainingJobName}, opts...)
	return &sagemaker.StopTrainingJobOutput{}, explain("StopProcessingJob", aws.ToString(in.TrainingJobName), err)
}

// DescribeProcessing returns the description of one processing job.
func DescribeProcessing(ctx context.Context, api ProcessingAPI, job string) (*sagemaker.DescribeProcessingJobOutput, error) {
	if err := given.Check(ctx, api != nil, errNoAPI); err != nil {
		return nil, err
	}
	out, err := api.DescribeProcessingJob(ctx, &sagemaker.DescribeProcessingJobInput{ProcessingJobName: &job})
	return out, explain("DescribeProcessingJob", job, err)
}
