package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/vault"
)

func jobsCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:        "jobs",
		Usage:       "list jobs in SageMaker, or on this machine, and show one",
		Subcommands: []*cli.Command{jobsLocalCommand(con), jobsShowCommand(con)},
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "max", Value: 20, Usage: "list the newest `N`"},
			&cli.StringFlag{Name: "status", Usage: "only jobs with this `STATUS`: InProgress, Completed, Failed, Stopping or Stopped"},
			&cli.StringFlag{Name: "contains", Usage: "only jobs with `TEXT` in their names"},
			processingFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return chooseCommand(c)
			}
			return listJobs(c, con)
		},
	}
}

func jobsLocalCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:  "local",
		Usage: "list the jobs of train --local that are running or have undelivered results",
		Description: "Results are left where they could not be delivered. Each such job is listed with the command\n" +
			"that delivers them.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "work-dir", Usage: "also look for jobs in `DIR`, if train had this flag"}},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			return localJobs(c, con)
		},
	}
}

// listJobs lists the jobs in SageMaker.
func listJobs(c *cli.Context, con *console) error {
	status := c.String("status")
	if status != "" && !slices.Contains(types.TrainingJobStatus("").Values(), types.TrainingJobStatus(status)) {
		return usagef("--status: there is no status %q", status)
	}
	if c.Int("max") < 1 {
		return usagef("--max: %d must be at least 1", c.Int("max"))
	}
	f, err := newFollower(c, con, "")
	if err != nil {
		return err
	}
	all, err := trainer.List(c.Context, f.sm, trainer.Filter{NameContains: c.String("contains"), Status: status, Max: c.Int("max")})
	if err != nil {
		return err
	}
	if len(all) == 0 {
		con.notef("No such training job in this account and Region.")
	}
	for _, s := range all {
		name := aws.ToString(s.TrainingJobName)
		con.emit("job", event{"job": name, "arn": aws.ToString(s.TrainingJobArn), "status": s.TrainingJobStatus, "secondary_status": s.SecondaryStatus,
			"created": s.CreationTime, "ended": s.TrainingEndTime})
		con.printf("%-45s %-11s %-18s %s  %s", name, s.TrainingJobStatus, s.SecondaryStatus, day(aws.ToTime(s.CreationTime)), since(s.CreationTime, s.TrainingEndTime))
	}
	return nil
}

func logsCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "show the output of a job",
		ArgsUsage: "JOB",
		Flags: []cli.Flag{
			processingFlag(),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "continue until the job ends; exit codes are those of train --wait"},
			&cli.DurationFlag{Name: "timeout", DefaultText: "no limit", Usage: "with --follow: wait at most `DURATION`"},
			&cli.StringFlag{Name: "since", Usage: "leave out what is older than `TIME`: 90s, 10m, 2h, or 2026-01-31T15:04:05Z"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			f, err := newFollower(c, con, args[0])
			if err != nil {
				return err
			}
			if f.since, err = sinceTime(c.String("since"), time.Now()); err != nil {
				return err
			}
			if c.Bool("follow") { // do not poll first: waiting tolerates more errors
				f.showLogs = true
				return f.toEnd(c.Context)
			}
			d, err := trainer.Describe(c.Context, f.sm, f.job)
			if err != nil {
				return err
			}
			l := f.newLogs()
			l.Hosts = trainer.Hosts(d)
			some, err := l.Poll(c.Context)
			if err == nil && !some {
				con.notef("%s has written nothing yet%s.", f.job, map[bool]string{true: " in that time"}[c.IsSet("since")])
			}
			return err
		},
	}
}

// sinceTime parses a time, or a duration before now. It returns the zero time for "".
func sinceTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, usagef("--since: %q is neither a duration, such as 10m, nor a time, such as 2026-01-31T15:04:05Z", s)
	}
	return t, nil
}

func stopCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:        "stop",
		Usage:       "stop a job",
		ArgsUsage:   "JOB",
		Description: "The job gets SIGTERM, and 120 seconds to save its model.",
		Flags: []cli.Flag{
			processingFlag(),
			&cli.BoolFlag{Name: "wait", Usage: "wait until the job has ended"},
			&cli.DurationFlag{Name: "timeout", DefaultText: "no limit", Usage: "with --wait: wait at most `DURATION`"},
		},
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			f, err := newFollower(c, con, args[0])
			if err != nil {
				return err
			}
			status, err := trainer.Stop(c.Context, f.sm, f.job)
			if err != nil {
				return err
			}
			if status != types.TrainingJobStatusStopping {
				con.notef("%s has ended already: it is %s", f.job, status)
			}
			if !c.Bool("wait") {
				if status == types.TrainingJobStatusStopping {
					con.printf("stopping %s", f.job)
				}
				con.emit("summary", event{"command": "stop", "job": f.job, "status": status})
				return nil
			}
			err = f.toEnd(c.Context)
			// Stopped is the requested outcome.
			if failed := (*trainer.FailedError)(nil); errors.As(err, &failed) && failed.Status == string(types.TrainingJobStatusStopped) {
				if left := (*trainer.KeyLeftError)(nil); errors.As(err, &left) {
					return left
				}
				return nil
			}
			return err
		},
	}
}

// A follower follows one job for a command.
type follower struct {
	command  string
	con      *console
	sm       trainer.API
	logs     trainer.LogsAPI
	vault    func(context.Context) (*vault.Vault, error) // only needed for a key channel
	job      string
	timeout  time.Duration
	showLogs bool
	since    time.Time
	group    string // of its log; empty for that of training jobs
	// completed, if set, is called with the summary when the job is Completed.
	completed func(context.Context, event) error
}

func processingFlag() cli.Flag {
	return &cli.BoolFlag{Name: "processing", Usage: "the job is a processing job (vaultpack process)"}
}

func newFollower(c *cli.Context, con *console, job string) (*follower, error) {
	cfg, err := loadConfig(c, con)
	if err != nil {
		return nil, err
	}
	aws, err := services(c, cfg)
	if err != nil {
		return nil, err
	}
	f := &follower{command: c.Command.Name, con: con, sm: aws.SageMaker, logs: aws.Logs, job: job, timeout: c.Duration("timeout"),
		vault: func(ctx context.Context) (*vault.Vault, error) { return config.Open(ctx, cfg) }}
	if c.Bool("processing") {
		f.sm, f.group = trainer.ProcessingJobs(aws.SageMaker), trainer.ProcessingLogGroup
	}
	return f, nil
}

func (f *follower) newLogs() *trainer.Logs {
	l := &trainer.Logs{API: f.logs, Job: f.job, Group: f.group, Since: f.since, Quiet: 4 * f.con.every}
	l.Line = func(line trainer.Line) {
		f.con.emit("log", event{"host": line.Host, "time": line.Time, "text": line.Text})
		if l.Hosts > 1 {
			line.Text = line.Host + " | " + line.Text
		}
		f.con.printf("%s", line.Text)
		f.con.flush()
	}
	return l
}

func (f *follower) watcher() *trainer.Watcher {
	w := &trainer.Watcher{SageMaker: f.sm, Job: f.job, Every: f.con.every, OpenVault: f.vault,
		Changed: func(t trainer.Transition) {
			f.con.emit("status", event{"job": f.job, "status": t.Status, "message": t.Message, "time": t.Time})
			f.con.notef("%s  %s", strings.TrimSpace(t.Time.Local().Format("15:04:05")+"  "+t.Status), t.Message)
		},
		LogsFailed: f.con.warning,
		KeyRemoved: func(err error) {
			if err != nil {
				f.con.warning(err)
				return
			}
			f.con.emit("key-removed", event{"job": f.job})
			f.con.notef("removed the job's key from S3")
		},
	}
	if f.showLogs {
		w.Logs = f.newLogs()
	}
	return w
}

// toEnd waits for the job's end, and prints how it ended.
func (f *follower) toEnd(ctx context.Context) error {
	limited, cancel := f.limit(ctx)
	defer cancel()
	out, err := f.watcher().Wait(limited)
	if out == nil {
		return f.detached(ctx, limited, err)
	}
	e := event{"command": f.command, "job": f.job, "status": out.TrainingJobStatus, "billable_seconds": aws.ToInt32(out.BillableTimeInSeconds), "failure_reason": aws.ToString(out.FailureReason)}
	if m := out.ModelArtifacts; m != nil && aws.ToString(m.S3ModelArtifacts) != "" {
		e["model"] = *m.S3ModelArtifacts
		f.con.printf("model    %s", *m.S3ModelArtifacts)
	}
	var saved string
	if percent, spot := trainer.SpotSaving(out); spot {
		e["spot_saved_percent"] = percent
		saved = fmt.Sprintf(", %d %% saved by spot", percent)
	}
	f.con.tellMetrics(e, trainer.FinalMetrics(out))
	if err == nil && f.completed != nil {
		err = f.completed(ctx, e)
	}
	if f.group == trainer.ProcessingLogGroup { // for which SageMaker does not report the billed time
		delete(e, "billable_seconds")
		f.con.emit("summary", e)
		f.con.printf("%s %s after %s", strings.ToLower(string(out.TrainingJobStatus)), f.job, since(out.CreationTime, out.TrainingEndTime))
		return err
	}
	f.con.emit("summary", e)
	f.con.printf("%s %s after %s, %d s billed%s", strings.ToLower(string(out.TrainingJobStatus)), f.job, since(out.CreationTime, out.TrainingEndTime), aws.ToInt32(out.BillableTimeInSeconds), saved)
	return err
}

// untilKeyIsGone waits until the job no longer needs its key channel.
func (f *follower) untilKeyIsGone(ctx context.Context) error {
	out, err := f.watcher().WaitForKey(ctx)
	if out == nil {
		return f.detached(ctx, ctx, err)
	}
	if out.TrainingJobStatus == types.TrainingJobStatusInProgress {
		f.con.printf("trains   %s\nfollow   %s\nstop     %s", f.job, f.con.next("logs", f.job, "--follow"), f.con.next("stop", f.job))
		f.con.emit("summary", event{"command": f.command, "job": f.job, "status": "InProgress"})
	}
	return err
}

// next is a command about the job.
func (f *follower) next(command string, flags ...string) string {
	if f.group == trainer.ProcessingLogGroup {
		flags = append([]string{"--processing"}, flags...)
	}
	return f.con.next(append([]string{command, f.job}, flags...)...)
}

func (f *follower) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, f.timeout)
}

// detached says that the job continues, and how to follow or stop it.
func (f *follower) detached(ctx, limited context.Context, err error) error {
	var on *trainer.GoesOnError
	if !errors.As(err, &on) {
		return err
	}
	if f.command == "logs" && errors.Is(err, trainer.ErrNoJob) {
		return on.Err // the name is wrong, so no job continues
	}
	code, why := exitCode(err), on.Err.Error()
	switch {
	case ctx.Err() != nil:
		code, why = exitInterrupted, "interrupted"
	case limited.Err() != nil:
		code, why = exitFailed, "the time to wait ("+f.timeout.String()+") is over"
	}
	text := why + "; the job " + f.job + " continues.\n  follow  " + f.next("logs", "--follow") + "\n  stop    " + f.next("stop")
	if f.command == "process" {
		text += "\n  commit  " + f.con.next("process", "--resume", f.job)
	}
	if on.Key != "" {
		text += "\n  Its key still lies in S3, at " + on.Key + ": following the job, or stop --wait, removes it."
	}
	return &partialError{text: text, code: code}
}
