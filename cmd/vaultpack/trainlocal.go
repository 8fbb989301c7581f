package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/interrupt"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/vault"
)

// localTrainFlags are the flags of a run on this machine alone.
func localTrainFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "local", Usage: "run on this machine, as SageMaker would", Category: "with --local"},
		&cli.StringFlag{Name: "output-seal", Usage: "store the model as dataset `NAME` (default: DATASET-models)", Category: "with --local"},
		&cli.StringFlag{Name: "resume", Usage: "deliver the results of `JOB`, which an earlier run could not; see: vaultpack jobs local", Category: "with --local"},
		&cli.StringFlag{Name: "work-dir", Usage: "`DIR` for plaintext while the job runs (default: memory or the temporary folder)", Category: "with --local"},
		&cli.BoolFlag{Name: "no-namespace", Usage: "do not create a private /opt/ml; the job finds its files through SAGEMAKER_BASE_DIR", Category: "with --local"},
	}
}

// trainEnter is what a run on this machine starts in front of a job's command.
const trainEnter = "train-enter"

func trainLocal(c *cli.Context, con *console) error {
	args := c.Args().Slice()
	if c.IsSet("resume") {
		return resumeLocal(c, con)
	}
	if len(args) == 0 {
		return usagef("which dataset? usage: vaultpack train --local DATASET[@VERSION] -- COMMAND…")
	}
	job, err := newLocalJob(c, con, args[0], args[1:])
	if err != nil {
		return err
	}
	v, err := openVault(c, con)
	if err != nil {
		return err
	}
	summary := event{"command": "train", "local": true, "job": job.Name}
	deliver := &delivery{con: con, vault: v, summary: summary}
	ref, err := parseRef(args[0])
	if err != nil {
		return err
	}
	if deliver.to, err = localDestination(c, v, ref.Dataset); err != nil {
		return err
	}
	if deliver.to != (local.Destination{}) {
		job.To, job.Output = deliver.to, deliver.deliver
	}
	if err := fill(c, v, job, args[0]); err != nil {
		return err
	}
	defer job.Close()
	if err := certifyLocal(c, con, v, job); err != nil {
		return err
	}
	signals := make(chan os.Signal, 4)
	interrupt.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	job.Signals = signals
	summary["dataset"], summary["version"] = job.Sealed[0].Dataset.Name, job.Sealed[0].Version.Number
	began := time.Now()
	res, err := job.Run(c.Context)
	if res != nil {
		summary["status"], summary["reason"], summary["job_exit_code"], summary["seconds"] = res.Status, res.Reason, res.Code, time.Since(began).Seconds()
		con.emit("summary", summary)
	}
	switch {
	case err != nil:
		return undelivered(con, err, job.Dir)
	case res.Status == local.Failed:
		return fmt.Errorf("job %s failed: %s", job.Name, res.Reason)
	case res.Status == local.Stopped:
		return &partialError{text: fmt.Sprintf("job %s was stopped", job.Name), code: exitInterrupted}
	}
	con.printf("job      %s, completed in %s", job.Name, took(time.Since(began)))
	return nil
}

// maxLocalRuntime is how long a certificate is good, as long as the longest of SageMaker's.
const maxLocalRuntime = 28 * 24 * time.Hour

// certifyLocal records which versions the job is given, and has it sign what it makes.
func certifyLocal(c *cli.Context, con *console, v *vault.Vault, job *local.Job) error {
	if c.Bool("no-provenance") {
		return nil
	}
	run := provenance.Run{Job: job.Name, Builder: provenance.Local, Command: job.Command, Hyperparameters: job.Hyperparameters, Output: job.To.String()}
	for _, s := range job.Sealed {
		run.Inputs = append(run.Inputs, provenance.Input{Channel: s.Channel, Dataset: s.Dataset.Name, Version: s.Version.Number, Digest: s.Version.Digest()})
	}
	for name, dir := range job.Plain {
		if run.Plain == nil {
			run.Plain = map[string]string{}
		}
		run.Plain[name] = dir
	}
	if job.Source != "" {
		files, err := provenance.ReadFolder(c.Context, job.Source)
		if err != nil {
			return fmt.Errorf("--source: %w", err)
		}
		run.Source, run.Command = provenance.TreeDigest+":"+files.Tree(), []string{job.Entry}
	}
	cert, err := provenance.Certify(c.Context, job.Sealed[0].Dataset, run, time.Now().Add(maxLocalRuntime))
	if errors.Is(err, provenance.ErrNotSigner) {
		con.notef("nothing will tell how the model was made, or that the job was given the data: %v", err)
		return nil
	}
	const without = "%w; to train without a record of it, use --no-provenance"
	if err != nil {
		return fmt.Errorf(without, err)
	}
	if _, err := cert.Record(c.Context, v); err != nil {
		cert.Wipe()
		return fmt.Errorf(without, err)
	}
	job.Certificate = cert
	return nil
}

func newLocalJob(c *cli.Context, con *console, ref string, command []string) (*local.Job, error) {
	named, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	job := &local.Job{
		Name:   local.NewName(named.Dataset, time.Now()),
		Source: c.String("source"), Entry: c.String("entry"), Command: command, Stdout: con.stdout, Stderr: con.stderr,
		Logf: func(format string, args ...any) { con.notef("vaultpack: "+format, args...) },
	}
	if job.Dir, err = workDir(c); err != nil {
		return nil, err
	}
	if con.json {
		job.Stdout = con.stderr // standard output is for events
	}
	switch {
	case job.Source == "" && len(command) == 0:
		return nil, usagef("no command: write it after --, or set a script with --source DIR --entry FILE")
	case job.Source != "" && len(command) > 0:
		return nil, usagef("use either --source or a command after --, not both")
	case (job.Source == "") != (job.Entry == ""):
		return nil, usagef("use --source DIR and --entry FILE together")
	}
	if err := setScript(c, job); err != nil {
		return nil, err
	}
	switch f := c.String("format"); f {
	case "files":
	case "tar":
		job.Tars = true
	default:
		return nil, usagef("--format: %q must be files or tar", f)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	job.Enter, job.NoNamespace = []string{self, trainEnter}, c.Bool("no-namespace")
	return job, nil
}

// setScript sets what the script gets to see. What SageMaker would not take is refused
// here too, by the same rules.
func setScript(c *cli.Context, job *local.Job) error {
	hps, err := pairs(c, "hyperparameter")
	if err != nil {
		return err
	}
	if job.Env, err = pairs(c, "env"); err != nil {
		return err
	}
	more, err := pairs(c, "channel")
	if err != nil {
		return err
	}
	in := &trainer.Job{Source: job.Source, Entry: job.Entry, Command: job.Command, Environment: job.Env, Hyperparameters: map[string]trainer.Value{},
		Channels: map[string]*trainer.Channel{local.MainChannel: {}}}
	for name := range more {
		in.Channels[name] = &trainer.Channel{}
		in.Given("channels."+name, "--channel")
	}
	for name := range job.Env {
		in.Given("environment."+name, "--env")
	}
	job.Hyperparameters = map[string]string{}
	for name, text := range hps {
		v := trainer.ParseValue(text)
		in.Hyperparameters[name] = v
		in.Given("hyperparameters."+name, "--hyperparameter")
		job.Hyperparameters[name] = v.Sent(job.Source != "")
	}
	if err := in.CheckScript(); err != nil {
		return usagef("SageMaker would not take this job: %w", err)
	}
	return nil
}

// pairs reads the NAME=VALUE values of a flag.
func pairs(c *cli.Context, flag string) (map[string]string, error) {
	m := map[string]string{}
	for _, s := range c.StringSlice(flag) {
		k, v, ok := strings.Cut(s, "=")
		if _, twice := m[k]; !ok || k == "" || twice {
			return nil, usagef("--%s: %q is not NAME=VALUE, or the name is used twice", flag, s)
		}
		m[k] = v
	}
	return m, nil
}

// fill opens what the job's channels are to be filled with.
func fill(c *cli.Context, v *vault.Vault, job *local.Job, ref string) error {
	more, err := pairs(c, "channel")
	if err != nil {
		return err
	}
	named, err := parseRef(ref)
	if err != nil {
		return err
	}
	choice, err := choiceOf(c, named)
	if err != nil {
		return err
	}
	named.Digest = choice.Digest
	err = job.Fill(c.Context, v, local.Channels{Main: named.String(), More: more, AtLeast: choice.AtLeast, AllowIncomplete: c.Bool("allow-incomplete")})
	var wrong *local.ChannelError
	switch {
	case errors.As(err, &wrong) && wrong.Channel == local.MainChannel:
		return usageError{wrong.Err}
	case errors.As(err, &wrong):
		return usagef("--channel: %w", wrong.Err)
	case errors.Is(err, dataset.ErrIncomplete):
		return fmt.Errorf("%w; upload it again, choose another version, or use --allow-incomplete", err)
	}
	return err
}
