package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/launcher"
	"github.com/vaultpack/vaultpack/vault"
)

func trainCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "train",
		Usage:     "train on an encrypted dataset, in Amazon SageMaker or on this machine",
		ArgsUsage: "DATASET[@VERSION] [-- COMMAND…]",
		Description: "The image runs unchanged: the data is decrypted inside the container before COMMAND\n" +
			"(default: the image's own command) starts. --print shows the request and sends nothing.\n" +
			"You can describe a job in a file (-f); its fields are the flags with underscores, and\n" +
			"flags win over the file. With --local the same file runs on this machine. See\n" +
			"docs/TRAINING.md and docs/TRAINING-LOCAL.md.",
		Flags: slices.Concat(trainFlags(), sendFlags(), jobFlags(), localTrainFlags()),
		Action: func(c *cli.Context) error {
			if err := rightFlags(c); err != nil {
				return err
			}
			if c.Bool("local") {
				return trainLocal(c, con)
			}
			return train(c, con)
		},
	}
}

// rightFlags refuses flags that would do nothing where the job runs.
func rightFlags(c *cli.Context) error {
	both := []string{"at-least", "digest", "hyperparameter", "channel", "environment", "source", "entry", "output", "format", "allow-incomplete", "no-provenance", "seal-model", "seal-checkpoints", "file", "name", "max-runtime", "checkpoints", "metric",
		"instance-type", "instance-count", "instance-group", "distribution", "launcher", "processes-per-host", "mpi-options"}
	for _, f := range localTrainFlags() {
		if name := f.Names()[0]; c.IsSet(name) && !c.Bool("local") {
			return usagef("--%s needs --local", name)
		}
	}
	for _, f := range slices.Concat(trainFlags(), sendFlags(), jobFlags(), localTrainFlags()) {
		if name := f.Names()[0]; c.IsSet(name) && c.IsSet("resume") && !slices.Contains([]string{"local", "resume", "output", "output-seal", "checkpoints", "work-dir"}, name) {
			return usagef("--resume only delivers results; --%s has no effect with it", name)
		}
	}
	for _, f := range slices.Concat(trainFlags(), sendFlags(), jobFlags()) {
		if name := f.Names()[0]; c.IsSet(name) && c.Bool("local") && !slices.Contains(both, name) {
			return usagef("--%s is for SageMaker; it has no effect with --local", name)
		}
	}
	return nil
}

// trainFlags returns the flags of a launch.
func trainFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "read the job's description from a YAML `FILE`"},
		&cli.BoolFlag{Name: "print", Usage: "print the CreateTrainingJob request as JSON, and send nothing"},
		&cli.BoolFlag{Name: "wait", Usage: "wait until the job ends; exit with 0 only if it is Completed"},
		&cli.BoolFlag{Name: "logs", Usage: "show the job's output while waiting (implies --wait)"},
		&cli.DurationFlag{Name: "timeout", DefaultText: "no limit", Usage: "wait at most `DURATION`; the job continues"},
	}
}

// sendFlags returns the flags for users whose request another program sends.
func sendFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "print-as", Usage: "print the request as `FORMAT`: " + strings.Join(trainer.Formats, ", ") + " (implies --print)", DefaultText: "json"},
		&cli.BoolFlag{Name: "stage", Usage: "print the request and store in the vault what the job needs, so that another program can send it, once and within a day"},
	}
}

// jobFlags returns a flag for each field of a job.
func jobFlags() []cli.Flag {
	return append(versionFlags(), []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the job (default: from the dataset's name and the time)"},
		&cli.StringFlag{Name: "image", Usage: "`URI` of the training image"},
		&cli.StringFlag{Name: "role", Usage: "`ARN` of the role that the job runs as"},
		&cli.StringFlag{Name: "instance-type", Usage: "instance `TYPE`, such as ml.m5.xlarge"},
		&cli.IntFlag{Name: "instance-count", DefaultText: "1", Usage: "use `N` instances"},
		&cli.StringSliceFlag{Name: "instance-group", Usage: "`NAME=TYPE:COUNT`, for clusters with several instance types; can be repeated"},
		&cli.IntFlag{Name: "volume-size", DefaultText: "by the data's size", Usage: "size of each instance's volume in `GB`"},
		&cli.StringFlag{Name: "volume-kms-key", DefaultText: "the vault's", Usage: "KMS `KEY` for the volumes, or none"},
		&cli.StringFlag{Name: "keep-alive", Usage: "keep the instances for the next job for `DURATION` (warm pool)"},
		&cli.StringSliceFlag{Name: "channel", Usage: "add a channel: `NAME=DATASET[@VERSION]` or NAME=s3://…, followed by options such as ,distribution=… or ,input_mode=…; with --local also NAME=DIR; can be repeated"},
		&cli.StringFlag{Name: "distribution", Usage: "distribute DATASET to the hosts by `HOW`: FullyReplicated or ShardedByS3Key"},
		&cli.BoolFlag{Name: "allow-incomplete", Usage: "allow training on an incomplete version"},
		&cli.BoolFlag{Name: "seal-model", Usage: "seal the model in the job, before SageMaker stores it; vaultpack model get opens it"},
		&cli.BoolFlag{Name: "seal-checkpoints", Usage: "seal checkpoints in the job, before SageMaker stores them; vaultpack checkpoints get opens them"},
		&cli.BoolFlag{Name: "no-provenance", Usage: "do not record that the job was given the data, nor sign how the model was made"},
		&cli.StringFlag{Name: "format", Value: "files", Usage: "give the script `WHAT`: files, or tar for WebDataset shards"},
		&cli.StringSliceFlag{Name: "hyperparameter", Aliases: []string{"p", "hp"}, Usage: "`NAME=VALUE` of a hyperparameter; can be repeated"},
		&cli.StringSliceFlag{Name: "environment", Aliases: []string{"env", "e"}, Usage: "`NAME=VALUE` of an environment variable, not for secrets; can be repeated"},
		&cli.StringFlag{Name: "source", Usage: "`DIR` with the training script, for images with script mode"},
		&cli.StringFlag{Name: "entry", Usage: "script `FILE` in --source"},
		&cli.StringFlag{Name: "launcher", Usage: "`WHAT` starts the script in several processes on each host: torchrun, mpi or smddp; for images with script mode"},
		&cli.IntFlag{Name: "processes-per-host", Usage: "`N` processes on each host, for --launcher mpi", DefaultText: "one for each GPU"},
		&cli.StringFlag{Name: "mpi-options", Usage: "`OPTIONS` of mpirun, for --launcher mpi or smddp"},
		&cli.StringFlag{Name: "output", Value: "seal", DefaultText: "in the vault", Usage: "store the model at `PLACE`: s3://…; with --local also seal, none or a folder"},
		&cli.StringFlag{Name: "output-kms-key", DefaultText: "the vault's", Usage: "KMS `KEY` for the model, or none"},
		&cli.StringFlag{Name: "output-compression", Usage: "`HOW` to compress the model: GZIP or NONE"},
		&cli.StringSliceFlag{Name: "subnet", Usage: "`ID` of a subnet of your VPC; can be repeated"},
		&cli.StringSliceFlag{Name: "security-group", Usage: "`ID` of a security group; can be repeated"},
		&cli.BoolFlag{Name: "network-isolation", Usage: "give the container no network; requires --key-channel"},
		&cli.StringFlag{Name: "key-channel", Usage: "pass the key to the job through S3, encrypted under another KMS key (`ARN`). This is weaker: see docs/TRAINING.md"},
		&cli.BoolFlag{Name: "no-inter-container-encryption", Usage: "do not encrypt traffic between hosts"},
		&cli.StringFlag{Name: "max-runtime", DefaultText: "24h; with --local none", Usage: "stop the job after `DURATION`"},
		&cli.StringFlag{Name: "max-pending", Usage: "stop waiting for capacity after `DURATION`"},
		&cli.BoolFlag{Name: "spot", Usage: "use spot instances, with checkpoints"},
		&cli.StringFlag{Name: "max-wait", DefaultText: "twice max-runtime", Usage: "stop a spot job after `DURATION`, including waiting"},
		&cli.StringFlag{Name: "checkpoints", Usage: "`PLACE` where checkpoints are kept: s3://…; with --local also a dataset or ./DIR; the next job resumes from there"},
		&cli.StringFlag{Name: "checkpoint-path", Usage: "`PATH` of checkpoints in the container"},
		&cli.IntFlag{Name: "retries", DefaultText: "none", Usage: "retry up to `N` times after a service error"},
		&cli.StringSliceFlag{Name: "metric", Usage: "record a metric, `NAME=REGEX`: the first group of REGEX captures its values in the output; can be repeated"},
		&cli.StringSliceFlag{Name: "tag", Usage: "`NAME=VALUE` of a job tag; can be repeated"},
		&cli.StringFlag{Name: "tensorboard", Usage: "store TensorBoard data at `s3://…`"},
		&cli.StringFlag{Name: "tensorboard-path", Usage: "`PATH` of TensorBoard data in the container"},
		&cli.StringFlag{Name: "profiler", Usage: "store profiler data at `s3://…` (default: profiler off)"},
		&cli.StringFlag{Name: "binary", Usage: "static vaultpack-run `FILE` for the container"},
		&cli.StringFlag{Name: "arch", DefaultText: "by the instance type", Usage: "instance `ARCH`: amd64 or arm64"},
	}...)
}

// readJob reads the job file. Flags override its fields.
func readJob(c *cli.Context, con *console) (*trainer.Job, error) {
	j := &trainer.Job{}
	if file := c.String("file"); file != "" {
		var err error
		if j, err = trainer.ReadJob(file); err != nil {
			return nil, usageError{err}
		}
	}
	args := c.Args().Slice()
	before, command := args[:len(args)-con.behind], args[len(args)-con.behind:]
	if len(before) > 1 {
		return nil, usagef("unexpected argument %q: the command of the job comes after --", before[1])
	}
	if len(before) == 0 && j.Dataset == "" && len(j.Channels) == 0 && len(c.StringSlice("channel")) == 0 {
		return nil, usagef("which dataset? usage: %s %s", c.Command.HelpName, c.Command.ArgsUsage)
	}
	if len(before) == 1 {
		j.Dataset = before[0]
		j.Given("dataset", "DATASET")
	}
	if c.IsSet("digest") {
		r, err := parseRef(j.Dataset)
		if err != nil {
			return nil, err
		}
		choice, err := choiceOf(c, r)
		if err != nil {
			return nil, err
		}
		r.Digest = choice.Digest
		j.Dataset = r.String()
	}
	if len(command) > 0 {
		j.Command = command
		j.Given("command", "command after --")
	}
	if err := setFields(c, j); err != nil {
		return nil, usageError{err}
	}
	return j, nil
}

// setFields sets the fields whose flags were given.
func setFields(c *cli.Context, j *trainer.Job) error {
	var err error
	given := func(flag string) bool {
		if c.IsSet(flag) {
			j.Given(strings.ReplaceAll(flag, "-", "_"), "--"+flag)
		}
		return c.IsSet(flag)
	}
	for flag, s := range map[string]*string{"name": &j.Name, "image": &j.Image, "role": &j.Role, "instance-type": &j.InstanceType,
		"volume-kms-key": &j.VolumeKMSKey, "distribution": &j.Distribution, "format": &j.Format, "source": &j.Source, "entry": &j.Entry,
		"output": &j.Output, "output-kms-key": &j.OutputKMSKey, "output-compression": &j.OutputCompression, "key-channel": &j.KeyChannel,
		"checkpoints": &j.Checkpoints, "checkpoint-path": &j.CheckpointPath, "tensorboard": &j.TensorBoard, "tensorboard-path": &j.TensorBoardPath,
		"profiler": &j.Profiler, "binary": &j.Binary, "arch": &j.Arch, "launcher": &j.Launcher, "mpi-options": &j.MPIOptions} {
		if (flag == "output" || flag == "checkpoints") && c.Bool("local") || flag == "output" && c.Command.Name == "process" {
			continue // a place of this machine, or outputs
		}
		if given(flag) {
			*s = c.String(flag)
		}
	}
	for flag, n := range map[string]*int{"instance-count": &j.InstanceCount, "volume-size": &j.VolumeSize, "retries": &j.Retries, "processes-per-host": &j.ProcessesPerHost} {
		if given(flag) {
			*n = c.Int(flag)
		}
	}
	for flag, d := range map[string]*trainer.Duration{"keep-alive": &j.KeepAlive, "max-runtime": &j.MaxRuntime, "max-pending": &j.MaxPending, "max-wait": &j.MaxWait} {
		if given(flag) {
			if *d, err = trainer.ParseDuration(c.String(flag)); err != nil {
				return fmt.Errorf("--%s: %w", flag, err)
			}
		}
	}
	for flag, b := range map[string]*bool{"network-isolation": &j.NetworkIsolation, "spot": &j.Spot, "allow-incomplete": &j.AllowIncomplete, "no-provenance": &j.NoProvenance, "seal-model": &j.SealModel, "seal-checkpoints": &j.SealCheckpoints} {
		if given(flag) {
			*b = c.Bool(flag)
		}
	}
	if given("at-least") {
		j.AtLeast = c.Int64("at-least")
	}
	if c.IsSet("no-inter-container-encryption") {
		on := !c.Bool("no-inter-container-encryption")
		j.InterContainerEncryption = &on
		j.Given("inter_container_encryption", "--no-inter-container-encryption")
	}
	for flag, s := range map[string]*[]string{"subnet": &j.Subnets, "security-group": &j.SecurityGroups} {
		if c.IsSet(flag) {
			*s = c.StringSlice(flag)
			j.Given(strings.ReplaceAll(flag, "-", "_")+"s", "--"+flag)
		}
	}
	return setPairs(c, j)
}

// services returns the clients of SageMaker and CloudWatch Logs.
func services(c *cli.Context, cfg *config.Config) (*launcher.Services, error) {
	s, err := launcher.Connect(c.Context, cfg)
	return s, noRegion(err)
}

// noRegion turns a missing Region, which the user has to set, into wrong usage.
func noRegion(err error) error {
	if errors.Is(err, launcher.ErrNoRegion) {
		return usageError{err}
	}
	return err
}

// usageOfField turns an error in a field of the job into wrong usage.
func usageOfField(err error) error {
	if field := (*trainer.FieldError)(nil); errors.As(err, &field) {
		return usageError{err}
	}
	return err
}

func train(c *cli.Context, con *console) error {
	if d := c.Duration("timeout"); d < 0 || c.IsSet("timeout") && !c.Bool("wait") && !c.Bool("logs") {
		return usagef("--timeout needs --wait or --logs, and a duration above 0")
	}
	j, err := readJob(c, con)
	if err != nil {
		return err
	}
	if err := checkSend(c, j); err != nil {
		return err
	}
	if err := j.Check(); err != nil {
		if len(j.Command) > 0 && j.Image == "" {
			return usagef("%w; to run the command on this machine, use --local", err)
		}
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
	p, err := l.Plan(c.Context, j)
	if err != nil {
		return usageOfField(err)
	}
	defer p.Close()
	if c.Bool("print") || c.Bool("stage") || c.IsSet("print-as") {
		return printTraining(c, con, l, p)
	}
	tellWeakened(con, p.Weakened)
	arn, err := l.Launch(c.Context, p)
	if err != nil {
		return err
	}
	con.tellUsage(l.Vault)
	tellSealed(con, "channel ", p.Sealed)
	con.emit("launched", event{"job": p.Name(), "arn": arn})
	f := &follower{command: "train", con: con, sm: aws.SageMaker, logs: aws.Logs, job: p.Name(), timeout: c.Duration("timeout"), showLogs: c.Bool("logs"),
		vault: func(context.Context) (*vault.Vault, error) { return l.Vault, nil }}
	if c.Bool("wait") || c.Bool("logs") {
		con.notef("launched %s", p.Name())
		return f.toEnd(c.Context)
	}
	if j.KeyChannel != "" {
		con.notef("launched %s; waiting until its key can be removed from S3", p.Name())
		return f.untilKeyIsGone(c.Context)
	}
	con.printf("launched %s\nfollow   %s\nstop     %s", p.Name(), con.next("logs", p.Name(), "--follow"), con.next("stop", p.Name()))
	con.emit("summary", event{"command": "train", "job": p.Name(), "arn": arn, "status": "InProgress"})
	return nil
}

func tellWeakened(con *console, weakened []string) {
	for _, w := range weakened {
		con.warning(errors.New(w))
	}
}

// tellSealed prints the versions that a job was given.
func tellSealed(con *console, what string, sealed []*trainer.Sealed) {
	for _, s := range sealed {
		con.notef("%s %s: %s@%d, %s", what, s.Channel, s.Version.Dataset(), s.Version.Number, s.Version.Digest())
	}
}

// checkSend refuses flags that have no effect if another program sends the request.
func checkSend(c *cli.Context, j *trainer.Job) error {
	if as := c.String("print-as"); as != "" && !slices.Contains(trainer.Formats, as) {
		return usagef("--print-as: there is no format %q, but %s", as, strings.Join(trainer.Formats, ", "))
	}
	if !c.Bool("stage") {
		return nil
	}
	for _, f := range []string{"wait", "logs", "timeout"} {
		if c.IsSet(f) {
			return usagef("--stage does not send the request, so there is nothing that --%s could wait for", f)
		}
	}
	if j.KeyChannel != "" {
		return usagef("--stage cannot be used with a key channel (%s): the key would lie in S3 until someone follows the job", j.KeyChannel)
	}
	return nil
}

// printTraining prints the request and, with --stage, stores what it needs.
func printTraining(c *cli.Context, con *console, l *trainer.Launcher, p *trainer.Plan) error {
	b, err := p.Print(cmp.Or(c.String("print-as"), "json"), l.Region)
	if err != nil {
		return usageError{err}
	}
	if c.Bool("stage") {
		if err := l.Stage(c.Context, p); err != nil {
			return err
		}
	}
	return printPlan(con, b, p.Weakened)
}

// printPlan prints the request. Standard output is for that alone.
func printPlan(con *console, request []byte, weakened []string) error {
	for _, w := range weakened {
		con.warnf("warning: %s", w)
	}
	con.write(request)
	con.flush()
	con.dataOnOutput()
	return nil
}

// since formats the time between two moments, or until now, for people.
func since(from, to *time.Time) string {
	if from == nil {
		return "-"
	}
	end := time.Now()
	if to != nil {
		end = *to
	}
	return end.Sub(*from).Round(time.Second).String()
}
