package sagemakertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

// Reasons why a job or one of its attempts ends early.
var (
	errStopped     = errors.New("stopped")
	errMaxRuntime  = errors.New("the job exceeded MaxRuntimeInSeconds")
	errMaxWait     = errors.New("the job exceeded MaxWaitTimeInSeconds")
	errInterrupted = errors.New("the spot instances were interrupted")
)

var endMessages = map[types.SecondaryStatus]string{
	types.SecondaryStatusCompleted:           "Training job completed",
	types.SecondaryStatusFailed:              "Training job failed",
	types.SecondaryStatusStopped:             "Training job stopped",
	types.SecondaryStatusMaxRuntimeExceeded:  "Training job runtime exceeded MaxRuntimeInSeconds provided",
	types.SecondaryStatusMaxWaitTimeExceeded: "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}

// A failure is the FailureReason of a job.
type failure string

func (f failure) Error() string { return string(f) }

func reasonf(format string, args ...any) error { return failure(fmt.Sprintf(format, args...)) }

// A host is one of a job's instances.
type host struct {
	name, group string
	kind        types.TrainingInstanceType
	dir         string // on this machine; its subfolder ml is the container's /opt/ml
}

// hosts are the job's instances, algo-1 and so on, group by group.
func (j *job) hosts() (hosts []host) {
	groups := j.in.ResourceConfig.InstanceGroups
	if len(groups) == 0 {
		name := "homogeneousCluster"
		groups = []types.InstanceGroup{{InstanceCount: j.in.ResourceConfig.InstanceCount, InstanceGroupName: &name, InstanceType: j.in.ResourceConfig.InstanceType}}
	}
	for _, g := range groups {
		for range *g.InstanceCount {
			hosts = append(hosts, host{name: fmt.Sprintf("algo-%d", len(hosts)+1), group: *g.InstanceGroupName, kind: g.InstanceType})
		}
	}
	return hosts
}

// run runs the job, from Starting to its end.
func (j *job) run() {
	if stop := j.in.StoppingCondition; stop != nil && stop.MaxWaitTimeInSeconds != nil {
		t := time.AfterFunc(time.Duration(*stop.MaxWaitTimeInSeconds)*time.Second, func() { j.cancel(errMaxWait) })
		defer t.Stop()
	}
	var trained time.Duration
	for {
		err := j.attempt(&trained)
		if !errors.Is(err, errInterrupted) {
			j.end(err)
			return
		}
		j.to(types.TrainingJobStatusInProgress, types.SecondaryStatusInterrupted, "Training job interrupted, waiting for spot capacity")
		j.pause()
		if err := context.Cause(j.ctx); err != nil {
			j.end(err)
			return
		}
		j.to(types.TrainingJobStatusInProgress, types.SecondaryStatusStarting, "Starting the training job")
	}
}

func (j *job) pause() {
	select {
	case <-time.After(j.cfg.Pause):
	case <-j.ctx.Done():
	}
}

// end is the last step of a job: err says why it ended, nil for success.
func (j *job) end(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil && j.status == types.TrainingJobStatusStopping {
		err = errStopped // while the model was uploaded
	}
	status, secondary := types.TrainingJobStatusStopped, types.SecondaryStatusStopped
	switch {
	case j.Server.ctx.Err() != nil:
		status, secondary = types.TrainingJobStatusFailed, types.SecondaryStatusFailed
		err = reasonf("InternalServerError: sagemakertest was closed")
	case err == nil:
		status, secondary = types.TrainingJobStatusCompleted, types.SecondaryStatusCompleted
	case errors.Is(err, errStopped):
	case errors.Is(err, errMaxRuntime):
		secondary = types.SecondaryStatusMaxRuntimeExceeded
	case errors.Is(err, errMaxWait):
		secondary = types.SecondaryStatusMaxWaitTimeExceeded
	default:
		status, secondary = types.TrainingJobStatusFailed, types.SecondaryStatusFailed
	}
	if status == types.TrainingJobStatusStopped && j.status == types.TrainingJobStatusInProgress {
		j.toLocked(types.TrainingJobStatusStopping, types.SecondaryStatusStopping, "Stopping the training job")
	}
	if status == types.TrainingJobStatusFailed {
		j.reason = err.Error()
	}
	j.toLocked(status, secondary, endMessages[secondary])
}

// attempt runs the job once on fresh hosts, whose folders are removed afterwards.
func (j *job) attempt(trained *time.Duration) (err error) {
	ctx, cancel := context.WithCancelCause(j.ctx)
	defer cancel(nil)
	dir, err := os.MkdirTemp(j.cfg.Dir, "sagemakertest-")
	if err != nil {
		return internal(err)
	}
	defer os.RemoveAll(dir)
	j.to(types.TrainingJobStatusInProgress, types.SecondaryStatusStarting, "Preparing the instances for training")
	j.pause()
	if err := context.Cause(ctx); err != nil {
		return err
	}

	began := time.Now()
	j.mu.Lock()
	if j.started.IsZero() {
		j.started = began
	}
	j.mu.Unlock()
	left := time.Duration(maxRuntime(j.in.StoppingCondition))*time.Second - *trained
	t := time.AfterFunc(left, func() { cancel(errMaxRuntime) })
	defer t.Stop()
	defer func() { *trained += time.Since(began) }()

	c := j.client(j.region, j.creds)
	hosts := j.hosts()
	if len(j.in.InputDataConfig) > 0 {
		j.advance(types.SecondaryStatusDownloading, "Downloading input data")
	}
	for i := range hosts {
		hosts[i].dir = filepath.Join(dir, hosts[i].name)
		if err := j.prepare(ctx, c, hosts, i); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return reasonf("ClientError: Data download failed:%v", err)
		}
	}
	j.advance(types.SecondaryStatusTraining, "Downloading the training image")
	err = j.train(ctx, cancel, c, hosts)
	if errors.Is(err, errInterrupted) || j.Server.ctx.Err() != nil {
		return err
	}
	if err2 := j.upload(c, hosts, err); err2 != nil && err == nil {
		return reasonf("ClientError: Artifact upload failed:%v", err2)
	}
	return err
}

// advance changes the secondary status of a job that has not been stopped.
func (j *job) advance(secondary types.SecondaryStatus, message string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.status == types.TrainingJobStatusInProgress {
		j.toLocked(j.status, secondary, message)
	}
}

func internal(err error) error {
	return reasonf("InternalServerError: sagemakertest: %v", err)
}

// train runs the containers until all have ended. When one fails, or ctx ends, it
// stops all others.
func (j *job) train(ctx context.Context, cancel context.CancelCauseFunc, c *s3.Client, hosts []host) error {
	id := j.lend()
	defer j.withdraw(id)
	checkpoints := j.newSyncer(c, hosts)
	var containers []*container
	var err error
	for _, h := range hosts {
		var ct *container
		if ct, err = j.start(h, id); err != nil {
			cancel(internal(err))
			break
		}
		containers = append(containers, ct)
	}
	if err == nil {
		j.mu.Lock()
		if j.status == types.TrainingJobStatusInProgress {
			j.toLocked(j.status, types.SecondaryStatusTraining, "Training image download completed. Training in progress.")
			j.interrupt = func() { cancel(errInterrupted) }
		}
		j.mu.Unlock()
	}
	synced, stopSync := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(synced)
		checkpoints.run(stopSync)
	}()
	var wg sync.WaitGroup
	for i, ct := range containers {
		wg.Go(func() {
			select {
			case <-ct.done:
			case <-ctx.Done():
				ct.stop(j.Server.ctx, j.cfg.StopGrace)
			}
			if reason := j.failureOf(ct, hosts[i]); reason != nil {
				cancel(reason)
			}
		})
	}
	wg.Wait()
	j.mu.Lock()
	j.interrupt = nil
	j.mu.Unlock()
	close(stopSync)
	<-synced
	return context.Cause(ctx)
}

// failureOf returns why the container failed, or nil if it did not.
func (j *job) failureOf(ct *container, h host) error {
	if !j.processing {
		return ct.reason(h)
	}
	j.hear(h)
	if ct.code == 0 {
		return nil
	}
	return reasonf("AlgorithmError: See job logs for more information")
}

// reason returns why the container failed, as reported by DescribeTrainingJob: the
// first 1,024 characters of what it wrote into /opt/ml/output/failure.
func (ct *container) reason(h host) error {
	if ct.code == 0 {
		return nil
	}
	b, _ := readMade(filepath.Join(h.dir, "ml"), "output/failure")
	text := []rune(strings.ToValidUTF8(string(b), "\uFFFD"))
	return reasonf("AlgorithmError: %s, exit code: %d", string(text[:min(len(text), 1024)]), ct.code)
}

// readMade reads a file that the container has made. A pipe is none, and a link that leads
// out of the container's folder is not followed: it would lead to a file of this machine.
func readMade(ml, name string) ([]byte, error) {
	root, err := os.OpenRoot(ml)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	return io.ReadAll(io.LimitReader(f, 1<<20))
}

// prepare lays out the host's folder: what will be /opt/ml, with the channels, and
// the channels of FastFile mode next to it.
func (j *job) prepare(ctx context.Context, c *s3.Client, hosts []host, i int) error {
	if j.processing {
		return j.prepareProcessing(ctx, c, hosts, i)
	}
	ml := filepath.Join(hosts[i].dir, "ml")
	for _, d := range []string{"input/config", "input/data", "model", "output/data", "code"} {
		if err := os.MkdirAll(filepath.Join(ml, d), 0o755); err != nil {
			return err
		}
	}
	channels := map[string]any{}
	for _, ch := range j.in.InputDataConfig {
		dir := filepath.Join(ml, "input/data", *ch.ChannelName)
		if inputMode(j.in, ch) == types.TrainingInputModeFastfile {
			if err := os.Mkdir(dir, 0o755); err != nil { // a mount point
				return err
			}
			dir = filepath.Join(hosts[i].dir, "fastfile", *ch.ChannelName)
		}
		if err := j.fetch(ctx, c, ch, i, dir); err != nil {
			return err
		}
		info := map[string]string{"TrainingInputMode": "File", // FastFile mode looks the same to the script
			"S3DistributionType": cmp.Or(string(ch.DataSource.S3DataSource.S3DataDistributionType), "FullyReplicated"),
			"RecordWrapperType":  "None"}
		if ch.ContentType != nil {
			info["ContentType"] = *ch.ContentType
		}
		channels[*ch.ChannelName] = info
	}
	hyper := j.in.HyperParameters
	if hyper == nil {
		hyper = map[string]string{}
	}
	for name, v := range map[string]any{
		"hyperparameters.json": hyper, "inputdataconfig.json": channels, "resourceconfig.json": resources(hosts, i),
	} {
		if err := os.WriteFile(filepath.Join(ml, "input/config", name), indented(v), 0o644); err != nil {
			return err
		}
	}
	return j.restoreCheckpoints(ctx, c, ml)
}

func resources(hosts []host, i int) any {
	type group struct {
		Name  string                     `json:"instance_group_name"`
		Kind  types.TrainingInstanceType `json:"instance_type"`
		Hosts []string                   `json:"hosts"`
	}
	var names []string
	var groups []group
	for _, h := range hosts {
		names = append(names, h.name)
		if n := len(groups); n == 0 || groups[n-1].Name != h.group {
			groups = append(groups, group{Name: h.group, Kind: h.kind})
		}
		groups[len(groups)-1].Hosts = append(groups[len(groups)-1].Hosts, h.name)
	}
	slices.Sort(names)
	return map[string]any{"current_host": hosts[i].name, "current_instance_type": hosts[i].kind,
		"current_group_name": hosts[i].group, "hosts": names, "instance_groups": groups, "network_interface_name": "lo"}
}
