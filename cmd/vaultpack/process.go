package main

import (
	"context"
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/launcher"
	"github.com/vaultpack/vaultpack/trainer/outputs"
	"github.com/vaultpack/vaultpack/vault"
)

func processCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "process",
		Usage:     "make a dataset from an encrypted one, in a processing job of Amazon SageMaker",
		ArgsUsage: "DATASET[@VERSION] --output NAME=DATASET [-- COMMAND…]",
		Description: "COMMAND finds plain files in /opt/ml/processing/input/training, and writes to\n" +
			"/opt/ml/processing/output/NAME. What it has written is sealed in the job, and with --wait\n" +
			"becomes the next version of DATASET when the job is Completed; else --resume JOB makes it\n" +
			"that. You can describe a job in a file (-f), whose fields are the flags with underscores,\n" +
			"and outputs. See docs/PROCESSING.md.",
		Flags: slices.Concat(processFlags(), []cli.Flag{
			&cli.StringSliceFlag{Name: "output", Usage: "`NAME=DATASET`: the folder NAME becomes the next version of DATASET; can be repeated"},
			&cli.StringFlag{Name: "resume", Usage: "follow `JOB` to its end and commit its outputs, unless they are already"},
		}),
		Action: func(c *cli.Context) error {
			if d := c.Duration("timeout"); d < 0 || c.IsSet("timeout") && !c.Bool("wait") && !c.Bool("logs") && !c.IsSet("resume") {
				return usagef("--timeout needs --wait, --logs or --resume, and a duration above 0")
			}
			if c.IsSet("resume") {
				return resumeProcess(c, con)
			}
			return launchProcess(c, con)
		},
	}
}

// processFlags are those of train that a processing job has too.
func processFlags() []cli.Flag {
	has := []string{"file", "print", "wait", "logs", "timeout", "at-least", "digest", "name", "image", "role", "instance-type", "instance-count", "volume-size",
		"volume-kms-key", "channel", "distribution", "allow-incomplete", "no-provenance", "format", "environment", "source", "entry", "output-kms-key", "subnet",
		"security-group", "network-isolation", "key-channel", "no-inter-container-encryption", "max-runtime", "tag", "binary", "arch"}
	instead := map[string]string{
		"print":          "print the CreateProcessingJob request as JSON, and send nothing",
		"no-provenance":  "do not record that the job was given the data, nor have the job sign its outputs, nor demand that it has",
		"source":         "`DIR` with the script; the command starts in its folder",
		"entry":          "script `FILE` in --source, which python3 runs unless a command is given",
		"output-kms-key": "KMS `KEY` for the sealed outputs in S3, or none",
		"max-runtime":    "stop the job after `DURATION`, at most 7 days",
		"channel":        "add an input: `NAME=DATASET[@VERSION]` or NAME=s3://…; can be repeated",
	}
	var flags []cli.Flag
	for _, f := range slices.Concat(trainFlags(), jobFlags()) {
		name := f.Names()[0]
		if !slices.Contains(has, name) {
			continue
		}
		if usage := instead[name]; usage != "" {
			switch f := f.(type) {
			case *cli.BoolFlag:
				f.Usage = usage
			case *cli.StringFlag:
				f.Usage, f.DefaultText = usage, map[string]string{"output-kms-key": "the vault's", "max-runtime": "24h"}[name]
			case *cli.StringSliceFlag:
				f.Usage = usage
			}
		}
		flags = append(flags, f)
	}
	return flags
}

func launchProcess(c *cli.Context, con *console) error {
	j, err := readJob(c, con)
	if err != nil {
		return err
	}
	if err := j.CheckProcessing(); err != nil {
		return usageError{err}
	}
	cfg, err := loadConfig(c, con)
	if err != nil {
		return err
	}
	l, aws, err := launcher.Open(c.Context, cfg)
	if err != nil {
		return noRegion(err)
	}
	p, err := l.PlanProcessing(c.Context, j)
	if err != nil {
		return usageOfField(err)
	}
	defer p.Close()
	if c.Bool("print") {
		b, err := p.JSON()
		if err != nil {
			return err
		}
		return printPlan(con, b, p.Weakened)
	}
	tellWeakened(con, p.Weakened)
	arn, err := l.LaunchProcessing(c.Context, p)
	if err != nil {
		return err
	}
	con.tellUsage(l.Vault)
	tellSealed(con, "input   ", p.Sealed)
	con.emit("launched", event{"job": p.Name(), "arn": arn})
	if c.Bool("wait") || c.Bool("logs") || j.KeyChannel != "" { // a key channel stays until the job ends
		con.notef("launched %s", p.Name())
		f := processFollower(c, con, aws, p.Name(), func(context.Context) (*vault.Vault, error) { return l.Vault, nil })
		return f.toEnd(c.Context)
	}
	con.printf("launched %s\nfollow   %s\nstop     %s", p.Name(), con.next("logs", p.Name(), "--processing", "--follow"), con.next("stop", p.Name(), "--processing"))
	if len(j.Outputs) > 0 {
		con.printf("commit   %s", con.next("process", "--resume", p.Name()))
	}
	con.emit("summary", event{"command": "process", "job": p.Name(), "arn": arn, "status": "InProgress"})
	return nil
}

// resumeProcess brings to its end what an earlier process has begun.
func resumeProcess(c *cli.Context, con *console) error {
	for _, f := range slices.Concat(processFlags(), []cli.Flag{&cli.StringFlag{Name: "output"}}) {
		if name := f.Names()[0]; c.IsSet(name) && !slices.Contains([]string{"logs", "wait", "timeout", "no-provenance"}, name) {
			return usagef("--resume only follows a job and commits its outputs; --%s has no effect with it", name)
		}
	}
	if c.Args().Present() {
		return usagef("--resume takes no dataset and no command")
	}
	cfg, err := loadConfig(c, con)
	if err != nil {
		return err
	}
	aws, err := services(c, cfg)
	if err != nil {
		return err
	}
	f := processFollower(c, con, aws, c.String("resume"), func(ctx context.Context) (*vault.Vault, error) { return config.Open(ctx, cfg) })
	return f.toEnd(c.Context)
}

// processFollower follows a processing job, and commits its outputs once it is Completed.
func processFollower(c *cli.Context, con *console, aws *launcher.Services, job string, open func(context.Context) (*vault.Vault, error)) *follower {
	f := &follower{command: "process", con: con, sm: trainer.ProcessingJobs(aws.SageMaker), logs: aws.Logs, group: trainer.ProcessingLogGroup, job: job,
		timeout: c.Duration("timeout"), showLogs: c.Bool("logs"), vault: open}
	f.completed = func(ctx context.Context, summary event) error {
		return commitOutputs(ctx, f, aws.SageMaker, c.Bool("no-provenance"), summary)
	}
	return f
}

func commitOutputs(ctx context.Context, f *follower, api trainer.ProcessingAPI, unsigned bool, summary event) error {
	j, err := outputs.Find(ctx, api, f.job)
	if errors.Is(err, outputs.ErrNoOutputs) {
		return nil
	}
	if err != nil {
		return err
	}
	v, err := f.vault(ctx)
	if err != nil {
		return err
	}
	done, err := outputs.Commit(ctx, v, j, outputs.Options{Unsigned: unsigned, Warn: f.con.warning})
	var all []map[string]any
	for _, o := range done {
		all = append(all, map[string]any{"output": o.Name, "dataset": o.Dataset, "version": o.Version, "digest": o.Digest, "files": o.Files, "bytes": o.Bytes, "before": o.Before})
		if o.Before {
			f.con.printf("output   %s is version %d of dataset %s already", o.Name, o.Version, o.Dataset)
			continue
		}
		f.con.printf("output   %s is version %d of dataset %s: %s, %s", o.Name, o.Version, o.Dataset, count(o.Files, "file"), size(o.Bytes))
	}
	if all != nil {
		summary["outputs"] = all
	}
	if err == nil {
		f.con.tellUsage(v)
		return nil
	}
	if ctx.Err() == nil {
		f.con.notef("Once the cause is fixed, commit them with: %s", f.con.next("process", "--resume", f.job))
	}
	return err
}
