package trainer

import (
	"errors"
	"maps"
	"path"
	"slices"

	"github.com/vaultpack/vaultpack/trainer/container"
)

// onlySageMaker are the fields that have no effect where a job runs on one machine, in the
// order that they are told in. The rest has one there too, or is refused by CheckHere.
var onlySageMaker = []string{
	"image", "role", "volume_size", "volume_kms_key", "keep_alive",
	"output_kms_key", "output_compression", "subnets", "security_groups",
	"key_channel", "inter_container_encryption", "max_pending", "spot", "max_wait",
	"retries", "tags", "tensorboard", "tensorboard_path", "profiler", "binary", "arch", "outputs",
}

// OnlySageMaker returns the fields that were set but have no effect on this machine.
func (j *Job) OnlySageMaker() (fields []string) {
	if j == nil {
		return nil
	}
	for _, f := range onlySageMaker {
		if j.given(f) {
			fields = append(fields, f)
		}
	}
	return fields
}

// MaxHostsHere is the most hosts that a job has on this machine.
const MaxHostsHere = 64

// checkpointsHere is the only folder for checkpoints on this machine.
const checkpointsHere = container.BaseDir + "/checkpoints"

// CheckHere returns what a job that SageMaker would accept asks for and this machine does
// not do. Fields in replaced, output or checkpoints, have another value on this machine. The
// error joins errors of type [*FieldError].
func (j *Job) CheckHere(replaced ...string) error {
	if j == nil {
		return errors.New("trainer: a nil job")
	}
	p := &problems{job: j}
	p.check(j.Source != "" || len(j.Command) > 0, "command", "is missing: no command is known, since that of the image is not here; write it after --, or set a script with --source DIR --entry FILE")
	p.check(j.Source == "" || len(j.Command) == 0, "command", "goes with no source here: use either a source with an entry, or a command, not both")
	for _, name := range slices.Sorted(maps.Keys(j.Channels)) {
		if ch := j.Channels[name]; ch.S3 != "" {
			p.add("channels."+name, "%s is not fetched to this machine: fill the channel with --channel %s=DIR, or with a dataset", ch.S3, name)
		}
	}
	p.check(j.Output == "" || slices.Contains(replaced, "output"), "output",
		"a run on this machine writes nothing to %s: choose a place with --output: seal (in the vault), ./DIR, or none", j.Output)
	p.check(j.Checkpoints == "" || slices.Contains(replaced, "checkpoints"), "checkpoints",
		"a run on this machine does not use those of %s: choose a place with --checkpoints: NAME (in the vault), ./DIR, or none", j.Checkpoints)
	p.check(j.CheckpointPath == "" || path.Clean(j.CheckpointPath) == checkpointsHere, "checkpoint_path", "checkpoint_path is %s, and on this machine checkpoints are in %s", j.CheckpointPath, checkpointsHere)
	n := j.instances()
	p.check(n <= MaxHostsHere, "instance_count", "is %d, and on this machine a job has up to %d hosts; set another number with --instance-count", n, MaxHostsHere)
	p.check(j.Launcher != SMDDP, "launcher", "smddp is in AWS's images only; leave it out here, with --launcher ''")
	p.check(j.Launcher != MPI || n == 1, "launcher", "mpi reaches other hosts by SSH, which this machine's do not have; use --instance-count 1, or torchrun")
	p.check(j.LauncherGroup == "" || len(j.InstanceGroups) <= 1, "launcher_group", "on this machine a launcher starts the script on all hosts; leave it out, or the launcher")
	return errors.Join(p.errs...)
}
