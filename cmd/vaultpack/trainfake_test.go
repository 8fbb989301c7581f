package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vaultpack/vaultpack/internal/s3test"
)

// A scriptedSageMaker answers for SageMaker and CloudWatch Logs on the wire. It runs
// nothing: jobs go through the steps that the test sets, one with each look.
type scriptedSageMaker struct {
	mu      sync.Mutex
	jobs    map[string]map[string]any // the requests, by name
	steps   []string                  // of every job, in order
	at      int                       // the step that was reached
	hold    int                       // no step after this one; 0 for no such
	reason  string
	stopped bool
	deny    string // the operation that is not allowed
	busy    int    // so many looks at a job are throttled
	spot    bool   // jobs run on spot instances, and have metrics
	lines   []string
}

func (s *scriptedSageMaker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	b, _ := io.ReadAll(r.Body)
	var in map[string]any
	json.Unmarshal(b, &in)
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	fail := func(typ, message string) { answer(400, map[string]any{"__type": typ, "message": message}) }
	name, _ := in["TrainingJobName"].(string)
	switch {
	case op == s.deny:
		fail("AccessDeniedException", "User: arn:aws:iam::111122223333:user/u is not authorized to perform: sagemaker:"+op+" on resource: arn:aws:sagemaker:eu-west-1:111122223333:training-job/"+name)
	case op == "DescribeTrainingJob" && s.busy > 0:
		s.busy--
		fail("ThrottlingException", "Rate exceeded")
	case op == "CreateTrainingJob":
		s.jobs[name] = in
		answer(200, map[string]any{"TrainingJobArn": "arn:aws:sagemaker:eu-west-1:111122223333:training-job/" + name})
	case op == "StopTrainingJob" && s.jobs[name] != nil && slices.Contains([]string{"Completed", "Failed", "Stopped"}, s.status()):
		fail("ValidationException", "The request was rejected because the training job is in status "+s.status()+".")
	case op == "StopTrainingJob" && s.jobs[name] != nil:
		s.stopped, s.steps, s.hold = true, append(s.steps[:s.at:s.at], "Stopping", "Stopped"), 0
		answer(200, map[string]any{})
	case op == "ListTrainingJobs":
		var all []any
		for _, n := range slices.Sorted(maps.Keys(s.jobs)) {
			all = append(all, map[string]any{"TrainingJobName": n, "TrainingJobArn": "arn:" + n, "TrainingJobStatus": s.status(), "CreationTime": 1_700_000_000, "TrainingEndTime": 1_700_000_090})
		}
		answer(200, map[string]any{"TrainingJobSummaries": all})
	case op == "DescribeTrainingJob" && s.jobs[name] != nil:
		answer(200, s.describe(name))
	case op == "DescribeLogStreams":
		answer(200, map[string]any{"logStreams": []any{map[string]any{"logStreamName": in["logStreamNamePrefix"].(string) + "algo-1-17"}}})
	case op == "GetLogEvents":
		var events []any
		if in["nextToken"] == nil {
			for i, l := range s.lines {
				if at := 1_700_000_000_000 + int64(i); in["startTime"] == nil || float64(at) >= in["startTime"].(float64) {
					events = append(events, map[string]any{"timestamp": at, "message": l})
				}
			}
		}
		answer(200, map[string]any{"events": events, "nextForwardToken": "f/1"})
	default:
		fail("ValidationException", "Requested resource not found.")
	}
}

// set changes or reads what the fake says, between its answers.
func (s *scriptedSageMaker) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *scriptedSageMaker) status() string {
	switch last := s.steps[max(s.at-1, 0)]; last {
	case "Completed", "Failed", "Stopped", "Stopping":
		return last
	case "MaxRuntimeExceeded":
		return "Stopped"
	}
	return "InProgress"
}

func (s *scriptedSageMaker) describe(name string) map[string]any {
	if s.at < len(s.steps) && (s.hold == 0 || s.at < s.hold) {
		s.at++
	}
	out := maps.Clone(s.jobs[name])
	var ts []any
	for i, step := range s.steps[:s.at] {
		ts = append(ts, map[string]any{"Status": step, "StartTime": 1_700_000_000 + i, "StatusMessage": "now " + step})
	}
	out["TrainingJobStatus"], out["SecondaryStatus"], out["SecondaryStatusTransitions"] = s.status(), s.steps[s.at-1], ts
	out["FailureReason"], out["CreationTime"], out["BillableTimeInSeconds"] = s.reason, 1_700_000_000, 42
	if s.spot {
		out["EnableManagedSpotTraining"], out["TrainingTimeInSeconds"] = true, 120
		out["FinalMetricDataList"] = []any{map[string]any{"MetricName": "loss", "Value": 0.1}, map[string]any{"MetricName": "lr", "Value": "NaN"}}
	}
	out["ModelArtifacts"] = map[string]any{"S3ModelArtifacts": "s3://models/" + name + "/output/model.tar.gz"}
	return out
}

// trainingCloud is a cloud with a dataset and a scripted SageMaker.
func trainingCloud(t *testing.T) (*cloud, *scriptedSageMaker) {
	c := newCloud(t, s3test.MinIO(t, false))
	sm := &scriptedSageMaker{jobs: map[string]map[string]any{}, steps: []string{"Starting", "Downloading", "Training", "Uploading", "Completed"}, lines: []string{"first line", "last line"}}
	h := httptest.NewServer(sm)
	t.Cleanup(h.Close)
	c.env = append(c.env, "AWS_ENDPOINT_URL_SAGEMAKER="+h.URL, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS="+h.URL, "TEST_EVERY=25ms")
	write(t, filepath.Join(c.home, "src/a.txt"), []byte("some text"))
	c.upload("src", "-d", "texts")
	write(t, filepath.Join(c.home, "job.yaml"), fmt.Appendf(nil, `dataset: texts
image: 111122223333.dkr.ecr.eu-west-1.amazonaws.com/train:1
role: arn:aws:iam::111122223333:role/training
instance_type: %s
binary: %s
`, map[string]string{"amd64": "ml.m5.xlarge", "arm64": "ml.c7g.xlarge"}[runtime.GOARCH], standIn(t)))
	return c, sm
}

// standIn is a program that passes for vaultpack where nothing runs it: building
// the real one takes a minute.
func standIn(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "go.mod"), []byte("module github.com/vaultpack/vaultpack\n"))
	write(t, filepath.Join(dir, "cmd/vaultpack/main.go"), []byte("package main\n\nfunc main() {}\n"))
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "vaultpack"), "./cmd/vaultpack")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dir, "vaultpack")
}
