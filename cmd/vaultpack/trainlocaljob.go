package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/trainer"
	"github.com/vaultpack/vaultpack/trainer/local"
	"github.com/vaultpack/vaultpack/vault"
)

// readLocalJob reads a job as for SageMaker, and refuses what SageMaker would refuse, by
// the same rules.
func readLocalJob(c *cli.Context, con *console) (*trainer.Job, error) {
	in, err := readJob(c, con)
	if err != nil {
		return nil, err
	}
	if err := in.CheckLocal(); err != nil {
		return nil, usagef("SageMaker would not take this job: %w", err)
	}
	if err := in.CheckHere(); err != nil {
		return nil, usageError{err}
	}
	if in.Source != "" {
		if err := trainer.CheckSource(in.Source, in.Entry); err != nil {
			return nil, usagef("--source: %w", err)
		}
	}
	return in, nil
}

// localChannels returns the channels of a job as they are filled on this machine.
func localChannels(in *trainer.Job) local.Channels {
	all := local.Channels{Main: in.Dataset, More: map[string]string{}, Remote: map[string]local.Remote{}, Sharded: map[string]bool{local.MainChannel: in.Distribution == "ShardedByS3Key"}, AtLeast: in.AtLeast, AllowIncomplete: in.AllowIncomplete}
	for name, ch := range in.Channels {
		if ch.S3 != "" {
			all.Remote[name] = local.Remote{URI: ch.S3, Sharded: ch.Distribution == "ShardedByS3Key", Groups: ch.InstanceGroups, ContentType: ch.ContentType}
			continue
		}
		all.Sharded[name] = all.Sharded[name] || ch.Distribution == "ShardedByS3Key"
		if all.More[name] = ch.Dataset; ch.Folder != "" {
			all.More[name] = ch.Folder
		}
	}
	return all
}

// localGroups returns the hosts of a job.
func localGroups(in *trainer.Job) (groups []local.Group) {
	for _, g := range in.InstanceGroups {
		groups = append(groups, local.Group{Name: g.Name, Type: g.Type, Count: g.Count})
	}
	if groups == nil {
		groups = []local.Group{{Type: in.InstanceType, Count: max(in.InstanceCount, 1)}}
	}
	return groups
}

// newLocalJob returns the job without its channels and without the destination of its
// results.
func newLocalJob(c *cli.Context, con *console, in *trainer.Job, main string) (*local.Job, error) {
	job := &local.Job{
		Name: in.Name, Source: in.Source, Entry: in.Entry, Command: in.Command, Env: in.Environment, Hyperparameters: in.SentHyperparameters(),
		Tars: in.Format == "tar", MaxRuntime: time.Duration(in.MaxRuntime), Groups: localGroups(in),
		NoNamespace: c.Bool("no-namespace"), SharedNetwork: c.Bool("shared-network"), Isolated: in.NetworkIsolation,
		Launcher: in.Launcher, ProcessesPerHost: in.ProcessesPerHost, MPIOptions: in.MPIOptions, Stdout: con.stdout, Stderr: con.stderr,
		Logf: func(format string, args ...any) { con.notef("vaultpack: "+format, args...) },
	}
	var err error
	if job.Dir, err = workDir(c); err != nil {
		return nil, err
	}
	if job.Name == "" {
		job.Name = local.NewName(main, time.Now())
	} else if err := local.CheckFree(job.Name, job.Dir); errors.Is(err, local.ErrNameTaken) {
		return nil, usagef("%w: choose another --name, or deliver the results of that one: %s", err, con.next("train", "--local", "--resume", job.Name))
	} else if err != nil {
		return nil, err
	}
	if n := in.Hosts(); n > 1 && job.NoNamespace {
		return nil, usagef("%d hosts: with --no-namespace there is one; set --instance-count 1, or leave --no-namespace out", n)
	}
	if err := job.CheckLauncher(); err != nil {
		return nil, usageError{err}
	}
	if err := onPath(in); err != nil {
		return nil, usageError{err}
	}
	if con.json {
		job.Stdout = con.stderr // standard output is for events
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	job.Enter = []string{self, trainEnter}
	return job, nil
}

// onPath returns an error if the job's command is a name that is nowhere on the path. A
// path may be one of the job's own, and is tried when the job runs.
func onPath(in *trainer.Job) error {
	if len(in.Command) == 0 || in.Environment["PATH"] != "" || strings.Contains(in.Command[0], "/") {
		return nil
	}
	_, err := exec.LookPath(in.Command[0])
	if err != nil {
		return fmt.Errorf("the command: %w; to run a script of this folder, write ./%s, or name what runs it, such as python3 %[2]s", err, in.Command[0])
	}
	return nil
}

// fill opens what fills the job's channels.
func fill(c *cli.Context, v *vault.Vault, job *local.Job, channels local.Channels) error {
	err := job.Fill(c.Context, v, channels)
	var wrong *local.ChannelError
	switch {
	case errors.As(err, &wrong) && wrong.Channel == local.MainChannel:
		return usageError{wrong.Err}
	case errors.As(err, &wrong):
		return usageError{wrong}
	case errors.Is(err, dataset.ErrIncomplete):
		return orAllow(err)
	}
	return err
}
