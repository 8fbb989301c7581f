package sagemakertest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/internal/arn"
)

// A job is a training job, or a processing job represented as one. The server's lock guards everything that
// changes after it was made.
type job struct {
	*Server
	jobKey
	in     *sagemaker.CreateTrainingJobInput
	proc   *sagemaker.CreateProcessingJobInput // of a processing job
	raw    map[string]json.RawMessage          // the request's members
	arn    string
	creds  aws.Credentials
	image  Image
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the job has ended

	status      types.TrainingJobStatus
	secondary   types.SecondaryStatus
	reason      string
	message     string // the exit message of a processing job
	transitions []transition
	created     time.Time
	modified    time.Time
	started     time.Time // of training, which includes the download
	ended       time.Time
	model       string            // where the model was put
	interrupt   func()            // interrupts a spot job during training
	tags        map[string]string // by key
}

type transition struct {
	Status        types.SecondaryStatus
	StartTime     epoch
	EndTime       *epoch `json:",omitempty"`
	StatusMessage string
}

// to moves the job to another secondary status, or changes the message of the
// current one.
func (j *job) to(status types.TrainingJobStatus, secondary types.SecondaryStatus, message string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.toLocked(status, secondary, message)
}

func (j *job) toLocked(status types.TrainingJobStatus, secondary types.SecondaryStatus, message string) {
	now := time.Now()
	j.modified = now
	if n := len(j.transitions); n > 0 {
		last := &j.transitions[n-1]
		if last.Status == secondary {
			last.StatusMessage = message
			return
		}
		end := epoch(now)
		last.EndTime = &end
	}
	j.status, j.secondary = status, secondary
	j.transitions = append(j.transitions, transition{Status: secondary, StartTime: epoch(now), StatusMessage: message})
	switch status {
	case types.TrainingJobStatusCompleted, types.TrainingJobStatusFailed, types.TrainingJobStatusStopped:
		end := epoch(now)
		j.transitions[len(j.transitions)-1].EndTime = &end
		j.ended = now
	}
}

func (r *request) createTrainingJob() (any, error) {
	if err := createShape.check(r.body); err != nil {
		return nil, err
	}
	in := new(sagemaker.CreateTrainingJobInput)
	if err := json.Unmarshal(r.body, in); err != nil {
		return nil, fail("SerializationException", "%v", err)
	}
	if err := checkRules(in); err != nil {
		return nil, err
	}
	creds, ok := r.cfg.Roles[*in.RoleArn]
	if !ok {
		return nil, invalid("Could not assume role %s. Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com' to assume the role.", *in.RoleArn)
	}
	uri := *in.AlgorithmSpecification.TrainingImage
	image, ok := r.cfg.Images[uri]
	if !ok && (len(r.cfg.Images) > 0 || in.AlgorithmSpecification.ContainerEntrypoint == nil) {
		return nil, invalid("Cannot find the image %s: it is not in sagemakertest's Config.Images", uri)
	}
	j := &job{Server: r.Server, jobKey: jobKey{region: r.region, name: *in.TrainingJobName}, in: in, creds: creds, image: image}
	if err := r.add(j, "training-job"); err != nil {
		return nil, err
	}
	for _, t := range in.Tags {
		j.tags[*t.Key] = *t.Value
	}
	return map[string]string{"TrainingJobArn": j.arn}, nil
}

// add checks what the job reads, and starts it.
func (r *request) add(j *job, kind string) error {
	key, in, creds := j.jobKey, j.in, j.creds
	if err := r.unique(key); err != nil {
		return err
	}
	r.mu.Unlock()
	err := r.findObjects(r.ctx, key.region, creds, in)
	r.mu.Lock()
	if err != nil {
		return err
	}
	if err := r.unique(key); err != nil {
		return err
	}
	if r.Server.ctx.Err() != nil {
		return fail("ServiceUnavailable", "sagemakertest is closed")
	}
	j.arn = fmt.Sprintf("arn:%s:sagemaker:%s:%s:%s/%s", arn.Partition(r.region), r.region, strings.Split(*in.RoleArn, ":")[4], kind, key.name)
	j.done, j.created, j.tags = make(chan struct{}), time.Now(), map[string]string{}
	json.Unmarshal(r.body, &j.raw)
	j.ctx, j.cancel = context.WithCancelCause(r.Server.ctx)
	j.toLocked(types.TrainingJobStatusInProgress, types.SecondaryStatusStarting, "Starting the training job")
	r.jobs[key] = j
	r.order = append(r.order, j)
	outcome, chosen := r.outcomes[key.name]
	if !chosen {
		outcome, chosen = r.outcomes["*"]
	}
	r.wg.Go(func() {
		defer close(j.done)
		defer j.cancel(nil)
		if chosen {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.reason = outcome.Reason
			j.toLocked(outcome.Status, outcome.Secondary, outcome.Message)
			return
		}
		j.run()
	})
	return nil
}

func (r *request) unique(key jobKey) error {
	if j := r.jobs[key]; j != nil && key.processing {
		return fail("ResourceInUse", "Job name must be unique within an AWS account and region, and a job with this name already exists (%s)", j.arn)
	} else if j != nil {
		return fail("ResourceInUse", "Training job names must be unique within an AWS account and region, and a training job with this name already exists (%s)", j.arn)
	}
	return nil
}

type jobName struct{ TrainingJobName string }

var nameShape = structure(must("TrainingJobName", text(1, 63, jobNamePattern)))

// find returns, for a missing job, the ValidationException that the service
// returns, although its model has ResourceNotFound.
func (r *request) find(name string) (*job, error) {
	if err := nameShape.check(r.body); err != nil {
		return nil, err
	}
	if j := r.jobs[jobKey{region: r.region, name: name}]; j != nil {
		return j, nil
	}
	return nil, invalid("Requested resource not found.")
}

func (r *request) describeTrainingJob(in *jobName) (any, error) {
	j, err := r.find(in.TrainingJobName)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for name, v := range j.raw {
		if name != "Tags" && name != "SessionChainingConfig" {
			out[name] = v
		}
	}
	out["StoppingCondition"] = map[string]any{"MaxRuntimeInSeconds": maxRuntime(j.in.StoppingCondition)}
	if j.in.StoppingCondition != nil && j.in.StoppingCondition.MaxRuntimeInSeconds != nil {
		out["StoppingCondition"] = j.raw["StoppingCondition"]
	}
	for _, name := range []string{"EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining"} {
		if out[name] == nil {
			out[name] = false
		}
	}
	maps.Copy(out, map[string]any{
		"TrainingJobArn":             j.arn,
		"TrainingJobStatus":          j.status,
		"SecondaryStatus":            j.secondary,
		"SecondaryStatusTransitions": j.transitions,
		"CreationTime":               epoch(j.created),
		"LastModifiedTime":           epoch(j.modified),
		"ModelArtifacts":             map[string]string{},
	})
	if j.model != "" {
		out["ModelArtifacts"] = map[string]string{"S3ModelArtifacts": j.model}
	}
	if j.reason != "" {
		out["FailureReason"] = j.reason
	}
	if !j.started.IsZero() {
		out["TrainingStartTime"] = epoch(j.started)
		if !j.ended.IsZero() {
			seconds := int(j.ended.Sub(j.started).Round(time.Second).Seconds())
			out["TrainingEndTime"] = epoch(j.ended)
			out["TrainingTimeInSeconds"], out["BillableTimeInSeconds"] = seconds, seconds
		}
	}
	return out, nil
}

func (r *request) stopTrainingJob(in *jobName) (any, error) {
	j, err := r.find(in.TrainingJobName)
	if err != nil {
		return nil, err
	}
	if j.status != types.TrainingJobStatusInProgress {
		return nil, invalid("The request was rejected because the training job is in status %s.", j.status)
	}
	j.toLocked(types.TrainingJobStatusStopping, types.SecondaryStatusStopping, "Stopping the training job")
	j.cancel(errStopped)
	return nil, nil
}

type listJobsIn struct {
	NextToken                                     string
	MaxResults                                    *int
	CreationTimeAfter, CreationTimeBefore         *epoch
	LastModifiedTimeAfter, LastModifiedTimeBefore *epoch
	NameContains                                  string
	StatusEquals                                  types.TrainingJobStatus
	SortBy                                        types.SortBy
	SortOrder                                     types.SortOrder
	WarmPoolStatusEquals, TrainingPlanArnEquals   string
}

var listShape = structure(
	may("NextToken", anyText(8192)),
	may("MaxResults", number(1, 100)),
	may("NameContains", text(0, 63, `[a-zA-Z0-9\-]+`)),
	may("StatusEquals", enum[types.TrainingJobStatus]()),
	may("SortBy", enum[types.SortBy]()),
	may("SortOrder", enum[types.SortOrder]()),
)

func (r *request) listTrainingJobs(in *listJobsIn) (any, error) {
	if err := listShape.check(r.body); err != nil {
		return nil, err
	}
	if in.WarmPoolStatusEquals != "" || in.TrainingPlanArnEquals != "" {
		return nil, notDone("WarmPoolStatusEquals and TrainingPlanArnEquals")
	}
	var found []*job
	for _, j := range r.order {
		if j.region == r.region && !j.processing && in.wants(j) {
			found = append(found, j)
		}
	}
	slices.SortStableFunc(found, func(a, b *job) int {
		switch in.SortBy {
		case types.SortByName:
			return strings.Compare(a.name, b.name)
		case types.SortByStatus:
			return cmp.Compare(a.status, b.status)
		}
		return a.created.Compare(b.created)
	})
	if in.SortOrder != types.SortOrderAscending { // newest first by default
		slices.Reverse(found)
	}
	limit := 10
	if in.MaxResults != nil {
		limit = *in.MaxResults
	}
	skip := 0
	if in.NextToken != "" {
		n, err := strconv.Atoi(in.NextToken)
		if err != nil || n < 0 || n > len(found) {
			return nil, invalid("Invalid NextToken")
		}
		skip = n
	}
	out := map[string]any{}
	list := []map[string]any{}
	for i := skip; i < len(found) && i < skip+limit; i++ {
		j := found[i]
		m := map[string]any{"TrainingJobName": j.name, "TrainingJobArn": j.arn, "CreationTime": epoch(j.created),
			"LastModifiedTime": epoch(j.modified), "TrainingJobStatus": j.status, "SecondaryStatus": j.secondary}
		if !j.ended.IsZero() {
			m["TrainingEndTime"] = epoch(j.ended)
		}
		list = append(list, m)
	}
	out["TrainingJobSummaries"] = list
	if skip+limit < len(found) {
		out["NextToken"] = strconv.Itoa(skip + limit)
	}
	return out, nil
}

func (in *listJobsIn) wants(j *job) bool {
	after := func(t time.Time, limit *epoch) bool { return limit == nil || t.After(time.Time(*limit)) }
	before := func(t time.Time, limit *epoch) bool { return limit == nil || t.Before(time.Time(*limit)) }
	return after(j.created, in.CreationTimeAfter) && before(j.created, in.CreationTimeBefore) &&
		after(j.modified, in.LastModifiedTimeAfter) && before(j.modified, in.LastModifiedTimeBefore) &&
		strings.Contains(j.name, in.NameContains) && (in.StatusEquals == "" || in.StatusEquals == j.status)
}

var addTagsShape = structure(must("ResourceArn", text(0, 256, `arn:aws[a-z-]*:sagemaker:[a-z0-9-]*:[0-9]{12}:.+`)), must("Tags", tagList))

// indented returns a JSON file in the form in which the container finds it.
func indented(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	e.Encode(v)
	return b.Bytes()
}
