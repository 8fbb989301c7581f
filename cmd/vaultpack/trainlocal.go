package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/interrupt"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/vault"
)

// localTrainFlags returns the flags that only a run on this machine has.
func localTrainFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "local", Usage: "run on this machine, as SageMaker would", Category: "with --local"},
		&cli.StringFlag{Name: "output-seal", Usage: "store the model as dataset `NAME` (default: DATASET-models)", Category: "with --local"},
		&cli.StringFlag{Name: "resume", Usage: "deliver the results of `JOB`, which an earlier run could not; see: vaultpack jobs local", Category: "with --local"},
		&cli.StringFlag{Name: "work-dir", Usage: "`DIR` for plaintext while the job runs (default: memory or the temporary folder)", Category: "with --local"},
		&cli.BoolFlag{Name: "shared-network", Usage: "let several hosts use this machine's network, instead of one of their own without a way out", Category: "with --local"},
		&cli.BoolFlag{Name: "no-namespace", Usage: "do not create a private /opt/ml; the job finds its files through SAGEMAKER_BASE_DIR", Category: "with --local"},
	}
}

// trainEnter is the hidden command that a local run starts, which then starts the job's command.
const trainEnter = "train-enter"

func trainLocal(c *cli.Context, con *console) error {
	if c.IsSet("resume") {
		return resumeLocal(c, con)
	}
	in, err := readLocalJob(c, con)
	if err != nil {
		return err
	}
	channels := localChannels(in)
	main, err := channels.Dataset()
	if err != nil {
		return usageError{err}
	}
	job, err := newLocalJob(c, con, in, main)
	if err != nil {
		return err
	}
	cfg, err := loadConfig(c, con)
	if err != nil {
		return err
	}
	v, err := config.Open(c.Context, cfg)
	if err != nil {
		return err
	}
	deliver, err := newDelivery(c, con, cfg, v, in, main)
	if err != nil {
		return err
	}
	deliver.summary = event{"command": "train", "local": true, "job": job.Name}
	job.Buckets, job.LookEvery = deliver.buckets, con.every
	if fields := in.OnlySageMaker(); len(fields) > 0 {
		con.notef("without effect on this machine: %s", strings.Join(fields, ", "))
	}
	if deliver.to != (local.Destination{}) {
		job.To, job.Output = deliver.to, deliver.deliver
	}
	if err := fill(c, v, job, channels); err != nil {
		return err
	}
	defer job.Close()
	if err := checkPlaces(c, v, in, job, deliver); err != nil {
		return err
	}
	if !in.NoProvenance {
		job.Certify = func(ctx context.Context) (*provenance.Certificate, error) { return certifyLocal(ctx, con, v, job) }
	}
	rec, err := newRecorder(in, job)
	if err != nil {
		return err
	}
	return runLocal(c, con, job, rec, deliver)
}

// runLocal runs a job that is ready on this machine, and reports how it ended.
func runLocal(c *cli.Context, con *console, job *local.Job, rec *recorder, d *delivery) error {
	summary := d.summary
	signals := make(chan os.Signal, 4)
	interrupt.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	job.Signals = signals
	summary["dataset"], summary["version"] = job.Sealed[0].Dataset.Name, job.Sealed[0].Version.Number
	began := time.Now()
	res, err := job.Run(c.Context)
	if res != nil {
		summary["status"], summary["reason"], summary["job_exit_code"], summary["seconds"] = res.Status, res.Reason, res.Code, time.Since(began).Seconds()
		if err := rec.end(con, job, began, res, d); err != nil {
			con.warning(fmt.Errorf("vaultpack jobs show will not know this job: %w", err))
		}
		con.emit("summary", summary)
	}
	switch {
	case err != nil:
		return undelivered(con, err, job.Dir)
	case res.Status == local.Failed:
		return fmt.Errorf("job %s failed: %s", job.Name, oneLine(res.Reason))
	case res.Status == local.Stopped && res.Reason == local.MaxRuntimeExceeded:
		return &trainer.FailedError{Job: job.Name, Status: string(res.Status), Detail: res.Reason}
	case res.Status == local.Stopped:
		return &partialError{text: fmt.Sprintf("job %s was stopped", job.Name), code: exitInterrupted}
	}
	if res.NoModel && job.Output != nil {
		con.warning(errNoModel)
	}
	con.printf("job      %s, completed in %s", job.Name, took(time.Since(began)))
	return nil
}

// errNoModel is the warning about a job that has completed without a model.
var errNoModel = errors.New("the script wrote nothing to /opt/ml/model (SM_MODEL_DIR): the job has no model")

// maxLocalRuntime is how long a certificate is valid: as long as SageMaker's longest jobs run.
const maxLocalRuntime = 28 * 24 * time.Hour

// checkPlaces returns an error for places of results and checkpoints that cannot be used, or
// would lose something, before the job is known to anybody and before any data is opened.
func checkPlaces(c *cli.Context, v *vault.Vault, in *trainer.Job, job *local.Job, d *delivery) error {
	if err := keepsInputs(c.Context, job); err != nil {
		return err
	}
	if err := resumeCheckpoints(c, v, in, job, d); err != nil {
		return err
	}
	return reach(c.Context, job)
}

// keepsInputs returns an error if the results would become the next version of a dataset that
// the job reads, unless that dataset holds models of jobs.
func keepsInputs(ctx context.Context, job *local.Job) error {
	for _, s := range job.Sealed {
		if s.Dataset.Name != job.To.Dataset {
			continue
		}
		switch _, err := s.Version.Lookup(ctx, modelFile); {
		case errors.Is(err, dataset.ErrNoEntry):
			return usagef("the job reads dataset %s, and its next version would have the job's results and nothing else: choose another with --output-seal", s.Dataset.Name)
		case err != nil:
			return err
		}
	}
	return nil
}

// certifyLocal records which versions the job is given, and returns a certificate to sign its
// results with, or nil if there can be none.
func certifyLocal(ctx context.Context, con *console, v *vault.Vault, job *local.Job) (*provenance.Certificate, error) {
	run := provenance.Run{Job: job.Name, Builder: provenance.Local, Command: job.Command, Hyperparameters: job.Hyperparameters, Output: job.To.String()}
	for _, s := range job.Sealed {
		run.Inputs = append(run.Inputs, provenance.Input{Channel: s.Channel, Dataset: s.Dataset.Name, Version: s.Version.Number, Digest: s.Version.Digest()})
	}
	run.Plain = maps.Clone(job.Plain)
	for name, ch := range job.Remote {
		run.Plain[name] = ch.URI
	}
	if s := job.Saved; s != nil && s.Version != nil {
		run.Inputs = append(run.Inputs, provenance.Input{Channel: s.Channel, Dataset: s.Dataset.Name, Version: s.Version.Number, Digest: s.Version.Digest()})
	}
	if at := job.Checkpoints; at.Dataset == "" && at.String() != "" {
		run.Plain["checkpoints"] = at.String()
	}
	if job.Source != "" {
		files, err := provenance.ReadFolder(ctx, job.Source)
		if err != nil {
			return nil, fmt.Errorf("--source: %w", err)
		}
		run.Source, run.Command = provenance.TreeDigest+":"+files.Tree(), []string{job.Entry}
	}
	cert, err := provenance.Certify(ctx, job.Sealed[0].Dataset, run, time.Now().Add(maxLocalRuntime))
	if errors.Is(err, provenance.ErrNotSigner) {
		con.notef("there will be no record of how the model was made, or that the job was given the data: %v", err)
		return nil, nil
	}
	const without = "%w; to train without a record of it, use --no-provenance"
	if err != nil {
		return nil, fmt.Errorf(without, err)
	}
	if _, err := cert.Record(ctx, v); err != nil {
		cert.Wipe()
		return nil, fmt.Errorf(without, err)
	}
	return cert, nil
}
