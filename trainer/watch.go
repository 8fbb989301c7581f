package trainer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
)

// NewClients returns clients that do not wait forever: each attempt times out after
// half a minute.
func NewClients(cfg aws.Config) (*sagemaker.Client, *cloudwatchlogs.Client) {
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = awshttp.NewBuildableClient()
	}
	if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		cfg.HTTPClient = c.WithTimeout(30 * time.Second)
	}
	return sagemaker.NewFromConfig(cfg), cloudwatchlogs.NewFromConfig(cfg)
}

// A Watcher follows one job to its end. The SDK's own waiter treats a stopped
// job as a success, and its interval between polls grows to hours.
type Watcher struct {
	SageMaker API
	Job       string
	// Changed is called with each new secondary status and its message.
	Changed func(Transition)
	// OpenVault opens the vault that holds the job's key channel. It is called only
	// for jobs with a key channel, which is removed as soon as the job no longer needs
	// it. KeyRemoved is called with nil after the removal, or with the reason if it
	// failed.
	OpenVault  func(context.Context) (*vault.Vault, error)
	KeyRemoved func(error)
	// Logs, if set, is also polled, and read to its end after the job has ended. If
	// it cannot be read, LogsFailed is called with the reason, and the job is
	// followed without it.
	Logs       *Logs
	LogsFailed func(error)
	// Every is the interval between polls; by default it grows from 1 to 15 seconds.
	Every time.Duration
	// Patience is how long calls may fail in a row with errors that a retry may
	// fix; by default ten minutes.
	Patience time.Duration

	shown   int
	message string
	trains  bool // it has begun to train, and will not read its channels again unless it is restarted
	key     keyWatch
}

// A Transition is a change of a job's status.
type Transition struct {
	Status  string // SecondaryStatus of the API: "Downloading"
	Message string
	Time    time.Time
}

// A FailedError reports that a job has ended with a status other than Completed.
type FailedError struct {
	Job    string
	Status string // Failed or Stopped
	Detail string // the last secondary status, such as MaxRuntimeExceeded
	Reason string // FailureReason, in one line
}

func (e *FailedError) Error() string {
	s := fmt.Sprintf("the job %s has ended with the status %s", e.Job, e.Status)
	if e.Detail != "" && e.Detail != e.Status {
		s += " (" + e.Detail + ")"
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// A GoesOnError reports that the job continues but is no longer being followed. It
// wraps the cause.
type GoesOnError struct {
	Job string
	// Key is the location of the job's key channel, or empty if there is none left.
	Key string
	Err error
}

func (e *GoesOnError) Error() string { return e.Err.Error() + "; the job " + e.Job + " goes on" }
func (e *GoesOnError) Unwrap() error { return e.Err }

// Wait returns when the job has ended: with a [*FailedError] unless its status is
// Completed, and with a [*KeyLeftError] if its key channel could not be removed. If the
// job cannot be followed to its end, because ctx has ended or calls fail, the error is a
// [*GoesOnError].
func (w *Watcher) Wait(ctx context.Context) (*sagemaker.DescribeTrainingJobOutput, error) {
	return w.wait(ctx, func() bool { return false })
}

// WaitForKey returns as soon as the job no longer needs its key channel and the key
// channel has been removed: when the job has begun to train or, if it may be restarted,
// has ended. It returns the same errors as Wait.
func (w *Watcher) WaitForKey(ctx context.Context) (*sagemaker.DescribeTrainingJobOutput, error) {
	return w.wait(ctx, func() bool { return w.trains && !w.key.again })
}

// wait follows the job until it has ended, or enough is known.
func (w *Watcher) wait(ctx context.Context, enough func() bool) (*sagemaker.DescribeTrainingJobOutput, error) {
	if err := given.Check(ctx, w != nil && w.SageMaker != nil, errNoAPI); err != nil {
		return nil, err
	}
	began := time.Now()
	for {
		out, err := w.lookPatiently(ctx)
		if err == nil && ended(out.TrainingJobStatus) {
			err = w.finishLogs(ctx)
			if err == nil {
				return out, errors.Join(w.outcome(out), w.key.err)
			}
		}
		if err != nil {
			return nil, &GoesOnError{Job: w.Job, Key: w.key.place, Err: err}
		}
		if enough() {
			return out, w.key.err
		}
		pause := w.Every
		if pause == 0 {
			pause = min(max(time.Since(began)/20, time.Second), 15*time.Second)
		}
		if !sleep(ctx, pause) {
			return nil, &GoesOnError{Job: w.Job, Key: w.key.place, Err: ctx.Err()}
		}
	}
}

// outcome returns nil for a job that is Completed.
func (w *Watcher) outcome(out *sagemaker.DescribeTrainingJobOutput) error {
	if out.TrainingJobStatus == types.TrainingJobStatusCompleted {
		return nil
	}
	return &FailedError{Job: w.Job, Status: string(out.TrainingJobStatus), Detail: string(out.SecondaryStatus), Reason: printable(aws.ToString(out.FailureReason))}
}

// finishLogs reads the output to its end. It returns an error only if ctx ends.
func (w *Watcher) finishLogs(ctx context.Context) error {
	if w.Logs == nil {
		return nil
	}
	err := w.Logs.Finish(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		w.withoutLogs(err)
	}
	return nil
}

// lookPatiently polls until the service answers, or has failed for too long.
func (w *Watcher) lookPatiently(ctx context.Context) (*sagemaker.DescribeTrainingJobOutput, error) {
	began, backoff := time.Now(), time.Second
	for {
		out, err := w.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil || !passes(err):
			return out, err
		case time.Since(began) > w.patience():
			return nil, fmt.Errorf("following the job: %w", err)
		}
		backoff = min(2*backoff, time.Minute)
		if !sleep(ctx, w.scaled(backoff)) {
			return nil, ctx.Err()
		}
	}
}

// scaled shortens pauses if polling is frequent, as in tests.
func (w *Watcher) scaled(d time.Duration) time.Duration {
	if w.Every > 0 && w.Every < time.Second {
		return min(d, 4*w.Every)
	}
	return d
}

func (w *Watcher) patience() time.Duration {
	if w.Patience > 0 {
		return w.Patience
	}
	return 10 * time.Minute
}

// look polls the job and its logs once.
func (w *Watcher) look(ctx context.Context) (*sagemaker.DescribeTrainingJobOutput, error) {
	out, err := w.SageMaker.DescribeTrainingJob(ctx, &sagemaker.DescribeTrainingJobInput{TrainingJobName: &w.Job})
	if err != nil {
		return nil, explain("DescribeTrainingJob", w.Job, err)
	}
	w.tell(out.SecondaryStatusTransitions)
	w.removeKey(ctx, out)
	if w.Logs != nil {
		w.Logs.Hosts = Hosts(out)
		if _, err := w.Logs.Poll(ctx); err != nil && passes(err) {
			return nil, err
		} else if err != nil && ctx.Err() == nil {
			w.withoutLogs(err)
		}
	}
	return out, nil
}

func (w *Watcher) withoutLogs(err error) {
	w.Logs = nil
	if w.LogsFailed != nil {
		w.LogsFailed(err)
	}
}

// tell reports new transitions, and a new message of the last one.
func (w *Watcher) tell(ts []types.SecondaryStatusTransition) {
	for i, t := range ts {
		message := aws.ToString(t.StatusMessage)
		switch {
		case i < w.shown-1, i == w.shown-1 && message == w.message:
			continue
		}
		w.shown, w.message = i+1, message
		if w.Changed != nil {
			w.Changed(Transition{Status: string(t.Status), Message: printable(message), Time: aws.ToTime(t.StartTime)})
		}
		w.trains = w.trains || t.Status == types.SecondaryStatusTraining
	}
}

func ended(s types.TrainingJobStatus) bool {
	switch s {
	case types.TrainingJobStatusCompleted, types.TrainingJobStatusFailed, types.TrainingJobStatusStopped, types.TrainingJobStatusDeleting:
		return true
	}
	return false
}

// sleep waits, and reports whether it waited the whole time.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Stop asks SageMaker to stop a job. The job gets SIGTERM, and 120 seconds to save its work.
// Stop returns the status Stopping or, if the job has already ended, its final status and no
// error.
func Stop(ctx context.Context, api API, job string) (types.TrainingJobStatus, error) {
	if err := given.Check(ctx, api != nil, errNoAPI); err != nil {
		return "", err
	}
	_, err := api.StopTrainingJob(ctx, &sagemaker.StopTrainingJobInput{TrainingJobName: &job})
	if err == nil {
		return types.TrainingJobStatusStopping, nil
	}
	if d, derr := api.DescribeTrainingJob(ctx, &sagemaker.DescribeTrainingJobInput{TrainingJobName: &job}); derr == nil && ended(d.TrainingJobStatus) {
		return d.TrainingJobStatus, nil
	}
	return "", explain("StopTrainingJob", job, err)
}

// A Filter selects jobs to list. Its zero value selects the newest 100.
type Filter struct {
	NameContains string
	Status       string // TrainingJobStatus of the API
	Max          int    // 0 is 100
}

// List returns the training jobs of the account and Region, the newest first.
func List(ctx context.Context, api API, f Filter) ([]types.TrainingJobSummary, error) {
	if err := given.Check(ctx, api != nil, errNoAPI); err != nil {
		return nil, err
	}
	if f.Max <= 0 {
		f.Max = 100
	}
	in := &sagemaker.ListTrainingJobsInput{SortBy: types.SortByCreationTime, SortOrder: types.SortOrderDescending, StatusEquals: types.TrainingJobStatus(f.Status)}
	if f.NameContains != "" {
		in.NameContains = &f.NameContains
	}
	var all []types.TrainingJobSummary
	for {
		in.MaxResults = aws.Int32(int32(min(f.Max-len(all), 100)))
		out, err := api.ListTrainingJobs(ctx, in)
		if err != nil {
			return nil, explain("ListTrainingJobs", "", err)
		}
		all = append(all, out.TrainingJobSummaries...)
		if aws.ToString(out.NextToken) == "" || len(all) >= f.Max {
			return all[:min(len(all), f.Max)], nil
		}
		in.NextToken = out.NextToken
	}
}

// Describe returns the description of one job.
func Describe(ctx context.Context, api API, job string) (*sagemaker.DescribeTrainingJobOutput, error) {
	if err := given.Check(ctx, api != nil, errNoAPI); err != nil {
		return nil, err
	}
	out, err := api.DescribeTrainingJob(ctx, &sagemaker.DescribeTrainingJobInput{TrainingJobName: &job})
	return out, explain("DescribeTrainingJob", job, err)
}

// Hosts returns the number of hosts of a job.
func Hosts(d *sagemaker.DescribeTrainingJobOutput) (n int) {
	if d == nil || d.ResourceConfig == nil {
		return 1
	}
	for _, g := range d.ResourceConfig.InstanceGroups {
		n += int(aws.ToInt32(g.InstanceCount))
	}
	return max(n, int(aws.ToInt32(d.ResourceConfig.InstanceCount)), 1)
}

var (
	errNoAPI  = errors.New("trainer: no API of SageMaker")
	errNoLogs = errors.New("trainer: no API of CloudWatch Logs")
)
