// Package local runs a training job as a process on this machine, under the same
// contract as a container in SageMaker: the same files below /opt/ml, the same
// variables, the same meaning of exit codes. Package container opens the sealed
// channels, as it does in the cloud.
package local

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/trainer/provenance"
)

// A Sealed is a version of a dataset that fills a channel.
type Sealed struct {
	Channel string
	Dataset *dataset.Dataset
	Version *dataset.Version
	// Sharded has each host get a part of the packs, as with ShardedByS3Key.
	Sharded bool
}

// A Job is a training job for this machine.
type Job struct {
	Name   string
	Sealed []Sealed
	// Plain maps channels to the folders, or single files, that are copied into them.
	Plain map[string]string
	// Remote maps channels to what is read from S3 for them, by Buckets.
	Remote map[string]Remote
	// Buckets opens what Remote, To and Checkpoints name in S3. It may be nil if they name
	// nothing there.
	Buckets Buckets
	// Hyperparameters are strings, as in SageMaker's API; in script mode they are JSON.
	Hyperparameters map[string]string
	Env             map[string]string
	// Source is a folder with the script Entry, which is started with the
	// hyperparameters as flags, as the toolkit in AWS's images does. Without it Command is started.
	Source, Entry string
	Command       []string
	Tars          bool

	// Groups are the hosts, each of which is a process with a folder, and, where that is
	// allowed, names and a network of its own. Empty means one host.
	Groups []Group
	// SharedNetwork has several hosts use this machine's network, under addresses of
	// their own.
	SharedNetwork bool
	// Isolated has the hosts reach each other only. It needs Enter; with NoNamespace it
	// has no effect but a warning.
	Isolated bool
	// Launcher starts a script of Python in several processes on each host: Torchrun, or MPI
	// for one host, with ProcessesPerHost and MPIOptions.
	Launcher         string
	ProcessesPerHost int
	MPIOptions       string

	// Keys open the data keys.
	Keys    []envelope.KeyWrapper
	Context envelope.EncryptionContext
	// Certificate signs a statement about the model of a job that has completed or was
	// stopped. The statement is stored in the model. [Job.Run] takes ownership of the
	// certificate and wipes it. If it is nil, nothing is signed.
	Certificate *provenance.Certificate
	// Certify, if it is not nil, makes Certificate and records that the job is given the data,
	// which uses up the job's name. It is called when all else that could refuse the job has
	// been checked, before any data is opened.
	Certify func(ctx context.Context) (*provenance.Certificate, error)
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

	// Checkpoints is the folder, dataset or place in S3 in which checkpoints are kept from one job to the
	// next. If it is zero, checkpoints are among the results. For a dataset, [Job.Resume]
	// sets Checkpoints and Saved. In S3 they are also kept while the job runs: every LookEvery,
	// 0 means 10 s, what has changed is stored there.
	Checkpoints Destination
	LookEvery   time.Duration
	// Saved holds the checkpoints to resume from. If its version is nil, there are none.
	Saved *Sealed
	// Keep delivers the checkpoints to Checkpoints, however the command has ended. It
	// is called before Output, and under the same rules.
	Keep func(ctx context.Context, r *Results) error

	reached     bool
	remoteBytes int64 // what is read from S3 takes
}

// tell tells Logf, if there is one.
func (j *Job) tell(format string, args ...any) {
	if j.Logf != nil {
		j.Logf(format, args...)
	}
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
	// Code is the exit code of the command, 128 and the signal's number if a signal ended it,
	// or -1 if it was not started.
	Code int
	// Reason is the failure reason, as SageMaker shows it, or why the job was stopped if
	// neither a signal nor the caller requested it.
	Reason string
	// NoModel reports whether a completed job has written nothing to /opt/ml/model.
	NoModel bool
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
