package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

func jobsCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "jobs",
		Usage:     "list training jobs in SageMaker",
		ArgsUsage: " ",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "max", Value: 20, Usage: "list the newest `N`"},
			&cli.StringFlag{Name: "status", Usage: "only jobs with this `STATUS`: InProgress, Completed, Failed, Stopping or Stopped"},
			&cli.StringFlag{Name: "contains", Usage: "only jobs with `TEXT` in their names"},
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			status := c.String("status")
			if status != "" && !slices.Contains(types.TrainingJobStatus("").Values(), types.TrainingJobStatus(status)) {
				return usagef("--status: there is no status %q", status)
			}
			if c.Int("max") < 1 {
				return usagef("--max: %d is not a number of jobs", c.Int("max"))
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
				con.notef("There is no such training job in this account and Region.")
			}
			for _, s := range all {
				name := aws.ToString(s.TrainingJobName)
				con.emit("job", event{"job": name, "arn": aws.ToString(s.TrainingJobArn), "status": s.TrainingJobStatus, "secondary_status": s.SecondaryStatus,
					"created": s.CreationTime, "ended": s.TrainingEndTime})
				con.printf("%-45s %-11s %-18s %s  %s", name, s.TrainingJobStatus, s.SecondaryStatus, day(aws.ToTime(s.CreationTime)), since(s.CreationTime, s.TrainingEndTime))
			}
			return nil
		},
	}
}

func logsCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "show the output of a training job",
		ArgsUsage: "JOB",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "continue until the job ends; exit codes are those of train --wait"},
			&cli.DurationFlag{Name: "timeout", Usage: "with --follow: wait at most `DURATION`"},
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
			d, err := trainer.Describe(c.Context, f.sm, f.job)
			if err != nil {
				return err
			}
			f.hosts = hostsOf(d)
			if c.Bool("follow") {
				f.showLogs, f.timeout = true, c.Duration("timeout")
				return f.toEnd(c.Context)
			}
			some, err := f.newLogs().Poll(c.Context)
			if err == nil && !some {
				con.notef("%s has written nothing yet.", f.job)
			}
			return err
		},
	}
}

func stopCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:        "stop",
		Usage:       "stop a training job",
		ArgsUsage:   "JOB",
		Description: "The job gets SIGTERM, and 120 seconds to save its model.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "wait", Usage: "wait until the job has ended"},
			&cli.DurationFlag{Name: "timeout", Usage: "with --wait: wait at most `DURATION`"},
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
			if err := trainer.Stop(c.Context, f.sm, f.job); err != nil {
				return err
			}
			if !c.Bool("wait") {
				con.printf("stopping %s", f.job)
				con.emit("summary", event{"command": "stop", "job": f.job, "status": "Stopping"})
				return nil
			}
			f.timeout = c.Duration("timeout")
			err = f.toEnd(c.Context)
			// Stopped is what was asked for.
			if failed := (*trainer.FailedError)(nil); errors.As(err, &failed) && failed.Status == string(types.TrainingJobStatusStopped) {
				return nil
			}
			return err
		},
	}
}

// testEvery lets the tests look at a job more often.
var testEvery time.Duration

// A follower follows one job for a command.
type follower struct {
	command  string
	con      *console
	sm       trainer.API
	logs     trainer.LogsAPI
	vault    *vault.Vault // nil where there is none: only a key channel needs it
	job      string
	hosts    int
	timeout  time.Duration
	showLogs bool
}

func newFollower(c *cli.Context, con *console, job string) (*follower, error) {
	cfg, err := loadConfig(c)
	if err != nil {
		return nil, err
	}
	sm, logs, _, err := services(c, cfg)
	if err != nil {
		return nil, err
	}
	f := &follower{command: c.Command.Name, con: con, sm: sm, logs: logs, job: job}
	if job != "" && s3store.IsURL(cfg.Vault.Value) {
		f.vault, _ = config.Open(c.Context, cfg) // only to remove a key channel, which says so if it cannot
	}
	return f, nil
}

func hostsOf(d *sagemaker.DescribeTrainingJobOutput) (n int) {
	if d.ResourceConfig == nil {
		return 1
	}
	for _, g := range d.ResourceConfig.InstanceGroups {
		n += int(aws.ToInt32(g.InstanceCount))
	}
	return max(n, int(aws.ToInt32(d.ResourceConfig.InstanceCount)))
}

func (f *follower) newLogs() *trainer.Logs {
	l := &trainer.Logs{API: f.logs, Job: f.job, Quiet: 4 * testEvery}
	l.Line = func(line trainer.Line) {
		f.con.emit("log", event{"host": line.Host, "time": line.Time, "text": line.Text})
		if f.hosts > 1 {
			line.Text = line.Host + " | " + line.Text
		}
		f.con.printf("%s", line.Text)
		f.con.flush()
	}
	return l
}

func (f *follower) watcher() *trainer.Watcher {
	return &trainer.Watcher{SageMaker: f.sm, Job: f.job, Every: testEvery,
		Changed: func(t trainer.Transition) {
			f.con.emit("status", event{"job": f.job, "status": t.Status, "message": t.Message, "time": t.Time})
			f.con.notef("%s  %s", strings.TrimSpace(t.Time.Local().Format("15:04:05")+"  "+t.Status), t.Message)
		},
		LogsFailed: func(err error) { f.con.warning(err) },
	}
}

// toEnd waits for the job's end, removes its key channel as soon as that may be,
// and tells how it ended.
func (f *follower) toEnd(ctx context.Context) error {
	first, err := trainer.Describe(ctx, f.sm, f.job)
	if err != nil {
		return f.detached(ctx, ctx, false, err)
	}
	f.hosts = hostsOf(first)
	hasKey, keep := trainer.HasKeyChannel(first)
	w := f.watcher()
	if f.showLogs {
		w.Logs = f.newLogs()
	}
	removed := false
	remove := func() {
		if hasKey && !removed {
			removed = f.removeKey(ctx)
		}
	}
	if !keep {
		w.Running = remove
	}
	limited, cancel := f.limit(ctx)
	defer cancel()
	out, err := w.Wait(limited)
	if out != nil {
		remove()
	} else {
		return f.detached(ctx, limited, hasKey && !removed, err)
	}
	e := event{"command": f.command, "job": f.job, "status": out.TrainingJobStatus, "billable_seconds": aws.ToInt32(out.BillableTimeInSeconds), "failure_reason": aws.ToString(out.FailureReason)}
	if m := out.ModelArtifacts; m != nil && aws.ToString(m.S3ModelArtifacts) != "" {
		e["model"] = *m.S3ModelArtifacts
		f.con.printf("model    %s", *m.S3ModelArtifacts)
	}
	f.con.emit("summary", e)
	f.con.printf("%s %s after %s, %d s billed", strings.ToLower(string(out.TrainingJobStatus)), f.job, since(out.CreationTime, out.TrainingEndTime), aws.ToInt32(out.BillableTimeInSeconds))
	return err
}

// untilKeyIsGone waits until the job needs its key channel no more.
func (f *follower) untilKeyIsGone(ctx context.Context) error {
	d, err := trainer.Describe(ctx, f.sm, f.job)
	if err != nil {
		return f.detached(ctx, ctx, true, err)
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	w := f.watcher()
	var trains atomic.Bool
	if _, keep := trainer.HasKeyChannel(d); !keep {
		w.Running = func() { trains.Store(true); cancel() }
	}
	out, err := w.Wait(running)
	if !trains.Load() && out == nil {
		return f.detached(ctx, running, true, err)
	}
	f.removeKey(ctx)
	if trains.Load() {
		f.con.printf("trains   %s\nfollow   %s\nstop     %s", f.job, f.con.next("logs", f.job, "--follow"), f.con.next("stop", f.job))
		f.con.emit("summary", event{"command": f.command, "job": f.job, "status": "InProgress"})
		return nil
	}
	return err
}

// removeKey removes the key channel, also after an interrupt.
func (f *follower) removeKey(ctx context.Context) bool {
	err := errors.New("the vault of the job is not the configured one; remove the folder _vaultpack/jobs/" + f.job + "/key/ from it")
	if f.vault != nil {
		err = trainer.RemoveKey(context.WithoutCancel(ctx), f.vault, f.job)
	}
	if err != nil {
		f.con.warning(err)
		return false
	}
	f.con.emit("key-removed", event{"job": f.job})
	f.con.notef("removed the job's key from S3")
	return true
}

func (f *follower) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, f.timeout)
}

// detached says that the job goes on, and how to follow or stop it.
func (f *follower) detached(ctx, limited context.Context, key bool, err error) error {
	code, why := exitCode(err), ""
	switch {
	case ctx.Err() != nil:
		code, why = exitInterrupted, "interrupted"
	case limited.Err() != nil:
		code, why = exitFailed, "the time to wait ("+f.timeout.String()+") is over"
	default:
		why = err.Error()
	}
	text := why + "; the job " + f.job + " goes on.\n  follow  " + f.con.next("logs", f.job, "--follow") + "\n  stop    " + f.con.next("stop", f.job)
	if key {
		text += "\n  Its key still lies in S3, below _vaultpack/jobs/" + f.job + "/key/: following the job, or stop --wait, removes it."
	}
	return &partialError{text: text, code: code}
}
