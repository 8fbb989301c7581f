package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

// localTrainFlags are the flags of a run on this machine alone.
func localTrainFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "local", Usage: "run on this machine, as SageMaker would", Category: "with --local"},
		&cli.StringFlag{Name: "output-seal", Usage: "store the model as dataset `NAME` (default: DATASET-models)", Category: "with --local"},
		&cli.StringFlag{Name: "work-dir", Usage: "`DIR` for plaintext while the job runs (default: memory or the temporary folder)", Category: "with --local"},
		&cli.BoolFlag{Name: "no-namespace", Usage: "do not create a private /opt/ml; the job finds its files through SAGEMAKER_BASE_DIR", Category: "with --local"},
	}
}

// trainEnterCommand is how a run on this machine gives a job its own /opt/ml.
func trainEnterCommand() *cli.Command {
	return &cli.Command{
		Name: trainEnter, Hidden: true, Usage: "become a command that finds a job's files at /opt/ml", ArgsUsage: "-- DIR COMMAND…",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 2, -1)
			if err != nil {
				return err
			}
			return local.Enter(args[0], args[1:])
		},
	}
}

const trainEnter = "train-enter"

func trainLocal(c *cli.Context, con *console) error {
	args := c.Args().Slice()
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
	if err := fill(c, v, job, args[0]); err != nil {
		return err
	}
	defer job.Close()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	job.Signals = signals
	summary := event{"command": "train", "local": true, "job": job.Name, "dataset": job.Sealed[0].Dataset.Name, "version": job.Sealed[0].Version.Number}
	if job.Output, err = localOutput(c, con, v, job.Sealed[0].Dataset.Name, summary); err != nil {
		return err
	}
	began := time.Now()
	res, err := job.Run(c.Context)
	if res != nil {
		summary["status"], summary["reason"], summary["job_exit_code"], summary["seconds"] = res.Status, res.Reason, res.Code, time.Since(began).Seconds()
		con.emit("summary", summary)
	}
	switch {
	case err != nil:
		return err
	case res.Status == local.Failed:
		return fmt.Errorf("job %s failed: %s", job.Name, res.Reason)
	case res.Status == local.Stopped:
		return &partialError{text: fmt.Sprintf("job %s was stopped", job.Name), code: exitInterrupted}
	}
	con.printf("job      %s, completed in %s", job.Name, took(time.Since(began)))
	return nil
}

func newLocalJob(c *cli.Context, con *console, ref string, command []string) (*local.Job, error) {
	name, _, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	job := &local.Job{
		Name:   local.NewName(name, time.Now()),
		Source: c.String("source"), Entry: c.String("entry"), Command: command, Dir: c.String("work-dir"), Stdout: con.stdout, Stderr: con.stderr,
		Logf: func(format string, args ...any) { con.notef("vaultpack: "+format, args...) },
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
	if job.Hyperparameters, err = pairs(c, "hyperparameter"); err != nil {
		return nil, err
	}
	if job.Env, err = pairs(c, "env"); err != nil {
		return nil, err
	}
	switch f := c.String("format"); f {
	case "files":
	case "tar":
		job.Tars = true
	default:
		return nil, usagef("--format: %q must be files or tar", f)
	}
	if !c.Bool("no-namespace") {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		job.Enter = []string{self, trainEnter, "--"}
	}
	return job, nil
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
	err = job.Fill(c.Context, v, local.Channels{Main: ref, More: more, AllowIncomplete: c.Bool("allow-incomplete")})
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

// localOutput is what becomes of the model. A model can give away what it was
// trained on, so that it is sealed unless something else is asked for.
func localOutput(c *cli.Context, con *console, v *vault.Vault, from string, summary event) (func(context.Context, string) error, error) {
	name := c.String("output-seal")
	if name == "" {
		name = from + "-models"
	}
	switch out := c.String("output"); {
	case out == "none" && c.IsSet("output-seal"), out != "seal" && out != "none" && c.IsSet("output-seal"):
		return nil, usagef("use either --output %s or --output-seal", out)
	case out == "none":
		return nil, nil
	case out != "seal":
		return func(_ context.Context, dir string) error {
			if err := os.MkdirAll(out, 0o755); err != nil {
				return err
			}
			if err := copyOut(con, dir, out); err != nil {
				return fmt.Errorf("--output: %w", err)
			}
			summary["output"] = out
			con.printf("model    %s (in the clear)", show(filepath.Join(out, "model.tar.gz")))
			return nil
		}, nil
	}
	if err := dataset.CheckName(name); err != nil {
		return nil, usagef("--output-seal: %w", err)
	}
	return func(ctx context.Context, dir string) error {
		d, err := dataset.Open(v, name)
		if err != nil {
			return err
		}
		defer d.Close()
		var failed error
		opts := uploader.Options{AllowEmpty: true, Warn: con.warning,
			Failed: func(path string, err error) { failed = errors.Join(failed, err) }}
		if files, _, err := uploader.Count(ctx, dir, opts, nil); err == nil && files == 0 {
			con.warning(errors.New("the job left no model, so none is stored"))
			return nil
		}
		res, err := uploader.Upload(ctx, d, dir, opts)
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("sealing the model: %w", err)
		}
		summary["output_dataset"], summary["output_version"] = name, res.Version.Number
		con.printf("model    sealed as dataset %s, version %d; open it with: %s", name, res.Version.Number, con.next("restore", name, "./model"))
		return nil
	}, nil
}
