// Package local runs a training job as a process on this machine, under the same
// contract as a container in SageMaker: the same files below /opt/ml, the same
// variables, the same meaning of exit codes. Package container opens the sealed
// channels, as it does in the cloud.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/trainer/container"
	"github.com/vaultpack/vaultpack/trainer/provenance"
)

// A Sealed is a version of a dataset that fills a channel.
type Sealed struct {
	Channel string
	Dataset *dataset.Dataset
	Version *dataset.Version
}

// A Job is a training job for this machine.
type Job struct {
	Name   string
	Sealed []Sealed
	// Plain maps channels to the folders that are copied into them.
	Plain map[string]string
	// Hyperparameters are strings, as in SageMaker's API; in script mode they are JSON.
	Hyperparameters map[string]string
	Env             map[string]string
	// Source is a folder with the script Entry, which is started with the
	// hyperparameters as flags, as the toolkit in AWS's images does. Without it Command is started.
	Source, Entry string
	Command       []string
	Tars          bool

	// Keys open the data keys.
	Keys    []envelope.KeyWrapper
	Context envelope.EncryptionContext
	// Certificate signs a statement about the model of a job that has completed or was
	// stopped. The statement is stored in the model. [Job.Run] takes ownership of the
	// certificate and wipes it. If it is nil, nothing is signed.
	Certificate *provenance.Certificate
	// Enter is a command line that calls the function [Enter] in a process of its own,
	// which gives the job a private /opt/ml, and ends everything that the command has
	// started. Without it, or with NoNamespace, SAGEMAKER_BASE_DIR says where the files
	// are. Without it, processes that have left the command's process group may outlive
	// the command.
	Enter       []string
	NoNamespace bool
	// Dir is the folder for the job's files while it runs. If it is empty,
	// [Workspace] chooses one.
	Dir string
	// Signals stop the job: the first with SIGTERM, the second at once.
	Signals <-chan os.Signal
	// Grace is the time that a stopped job has from SIGTERM to SIGKILL; 0 means
	// SageMaker's 120 s.
	Grace time.Duration
	// MaxRuntime is how long the command may run before it is stopped; 0 means no limit.
	MaxRuntime     time.Duration
	Stdout, Stderr io.Writer
	Logf           func(format string, args ...any)
	// To is the destination of the results. It is recorded, so that a later run can
	// deliver what this one could not.
	To Destination
	// Output delivers the results to To. It is called however the job has ended, except if the
	// job has made nothing. If Output returns nil, the results are
	// removed; otherwise Run keeps them and returns an [*UndeliveredError]. If Output is nil,
	// the results are discarded.
	Output func(ctx context.Context, r *Results) error

	// Checkpoints is the folder or dataset in which checkpoints are kept from one job to the
	// next. If it is zero, checkpoints are among the results. For a dataset, [Job.Resume]
	// sets Checkpoints and Saved.
	Checkpoints Destination
	// Saved holds the checkpoints to resume from. If its version is nil, there are none.
	Saved *Sealed
	// Keep delivers the checkpoints to Checkpoints, however the command has ended. It
	// is called before Output, and under the same rules.
	Keep func(ctx context.Context, r *Results) error
}

// Status is the status of a job, as in SageMaker.
type Status string

// The statuses of jobs that have ended.
const (
	Completed Status = "Completed"
	Failed    Status = "Failed"
	Stopped   Status = "Stopped"
)

// MaxRuntimeExceeded is the reason of a job that was stopped because it exceeded its
// maximum runtime.
const MaxRuntimeExceeded = "MaxRuntimeExceeded"

// A Result says how a job has ended.
type Result struct {
	Status Status
	// Code is the exit code of the command, or -1 if a signal ended it.
	Code int
	// Reason is the failure reason, as SageMaker shows it, or why the job was stopped if
	// neither a signal nor the caller requested it.
	Reason string
	// NoModel reports whether a completed job has written nothing to /opt/ml/model.
	NoModel bool
}

// Run runs the job to its end. The error is about the run itself; the result says
// how the command ended. All plaintext is in a private folder, which Run removes,
// except for results that were not delivered.
func (j *Job) Run(ctx context.Context) (res *Result, err error) {
	switch {
	case j == nil:
		return nil, errors.New("local: a nil Job")
	case ctx == nil:
		return nil, errors.New("local: a nil context")
	case len(j.Command) == 0 && j.Entry == "":
		return nil, errors.New("local: a job without a command")
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	if j.Logf == nil {
		j.Logf = func(string, ...any) {}
	}
	defer j.Certificate.Wipe()
	ctx, now, release := j.watch(ctx)
	defer release()
	stopped := func() bool { return ctx.Err() != nil }
	if err := j.To.Check(); err != nil {
		return nil, fmt.Errorf("the results cannot be delivered there: %w", err)
	}
	if err := j.Checkpoints.Check(); err != nil {
		return nil, fmt.Errorf("the checkpoints cannot be kept there: %w", err)
	}
	ws, err := newWorkspace(j)
	if err != nil {
		return nil, err
	}
	defer ws.close()
	rec := &record{Job: j.Name, To: j.To, Checkpoints: j.Checkpoints, Drop: j.Output == nil, Started: time.Now().UTC()}
	if len(j.Sealed) > 0 {
		rec.Dataset = j.Sealed[0].Dataset.Name
	}
	delivered := false
	// Whatever happens, what the job has made is removed only once it was delivered.
	defer func() {
		r := newResults(ws.base, j.Name, rec.Status, rec.Ended, rec.Checkpoints)
		if !r.unkept() && (delivered || rec.Drop || r.Empty()) {
			err = errors.Join(err, ws.remove())
			return
		}
		var kept *UndeliveredError
		if !errors.As(err, &kept) && err != nil {
			err = &UndeliveredError{j.Name, ws.dir, err}
		}
		if serr := ws.strip(); serr != nil {
			err = errors.Join(err, serr)
		}
	}()
	j.Logf("%s", ws.why)
	if err := rec.write(ws.dir); err != nil {
		return nil, err
	}
	if err := j.checkOthers(ws.dir); err != nil {
		return nil, err
	}
	if err := j.layOut(ctx, ws.base); err != nil {
		return nil, err
	}
	if err := j.open(ctx, ws.base); err != nil {
		if stopped() {
			return &Result{Status: Stopped, Code: -1, Reason: "stopped before the command was started"}, nil
		}
		reason := "AlgorithmError: " + err.Error()
		if werr := container.WriteFailure(ws.base, err); werr != nil {
			return nil, werr
		}
		return &Result{Status: Failed, Code: -1, Reason: reason}, err
	}
	if j.Checkpoints != (Destination{}) {
		if err := j.fetchCheckpoints(ctx, ws); err != nil {
			if stopped() {
				return &Result{Status: Stopped, Code: -1, Reason: "stopped before the command was started"}, nil
			}
			return nil, fmt.Errorf("fetching the checkpoints of an earlier job: %w", err)
		}
		if err := resumeFrom(ws); err != nil {
			return nil, fmt.Errorf("fetching the checkpoints of an earlier job: %w", err)
		}
	}
	j.Close() // no data key is in memory while the job runs
	began := time.Now()
	if res, err = j.run(ctx, ws, now); err != nil {
		return nil, err
	}
	j.sign(ctx, ws.base, res, began)
	if err := rec.end(ws.dir, res); err != nil {
		j.Logf("%v", err) // what follows tells how it ended
	}
	r := newResults(ws.base, j.Name, res.Status, rec.Ended, rec.Checkpoints)
	res.NoModel = res.Status == Completed && r.Unfinished
	if free := freeSpace(ws.dir); j.Output != nil && res.Status == Failed && free < 1<<20 {
		j.Logf("%s is full: set --work-dir to a larger place for the job's files", ws.dir)
	}
	if res.Status == Stopped && ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = untilAgain(ctx, now)
		defer cancel()
	}
	if err := r.keep(ctx, j.Keep); err != nil {
		return res, &UndeliveredError{j.Name, ws.dir, err}
	}
	if j.Output == nil || r.Empty() {
		return res, nil
	}
	if err := j.Output(ctx, r); err != nil {
		return res, &UndeliveredError{j.Name, ws.dir, err}
	}
	delivered = true
	return res, nil
}

// run runs the command. If it cannot be started the checkpoints in the job's folder are an
// earlier job's, and are removed.
func (j *Job) run(ctx context.Context, ws *workspace, now <-chan struct{}) (*Result, error) {
	cmd, err := j.command(ws)
	var res *Result
	if err == nil {
		res, err = j.start(ctx, cmd, ws.base, now)
	}
	if cmd == nil || cmd.Process == nil {
		err = errors.Join(err, removeTree(filepath.Join(ws.base, checkpointsName)))
	}
	return res, err
}

// untilAgain is a context for the results of a job that a signal has stopped: it ends with
// the next one.
func untilAgain(ctx context.Context, now <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	select {
	case <-now: // it was for the job
		return ctx, cancel
	default:
	}
	ended := make(chan struct{})
	go func() {
		select {
		case <-now:
			cancel()
		case <-ended:
		}
	}()
	return ctx, func() { close(ended); cancel() }
}

// watch makes a context that ends with the first signal; now is closed by the second.
func (j *Job) watch(ctx context.Context) (_ context.Context, now <-chan struct{}, release func()) {
	ctx, cancel := context.WithCancel(ctx)
	second, end := make(chan struct{}), make(chan struct{})
	go func() {
		signals := j.Signals
		for n := 1; ; n++ {
			select {
			case _, ok := <-signals:
				if !ok { // the caller has no more
					signals = nil
					n--
					continue
				}
			case <-end:
				return
			}
			cancel()
			if n == 2 {
				close(second)
			}
		}
	}()
	return ctx, second, func() { close(end); cancel() }
}

// open stages the sealed channels and opens them.
func (j *Job) open(ctx context.Context, base string) error {
	cfg := container.Config{BaseDir: base, Keys: j.Keys, Context: j.Context, Tars: j.Tars, Logf: j.Logf}
	for _, s := range j.Sealed {
		ch, err := Stage(ctx, s.Version, s.Dataset, base, s.Channel)
		if err != nil {
			return fmt.Errorf("channel %s: %w", s.Channel, err)
		}
		cfg.Channels = append(cfg.Channels, ch)
	}
	for name, dir := range j.Plain {
		to := filepath.Join(base, "input", "data", name)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			return fmt.Errorf("channel %s: %w", name, err)
		}
	}
	_, err := container.Open(ctx, &cfg)
	return err
}
