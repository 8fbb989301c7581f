package trainer

import (
	"errors"
	"maps"
	"path"
	"slices"

	"github.com/vaultpack/vaultpack/trainer/container"
)

// onlySageMaker are the fields that have no effect on a job that runs on one machine, in
// the order in which they are reported. All others have an effect there too, or are
// rejected by CheckHere.
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
		if j.given(f) && (f != "output_kms_key" || j.Output == "") {
			fields = append(fields, f)
		}
	}
	return fields
}

// MaxHostsHere is the most hosts that a job can have on this machine.
const MaxHostsHere = 64

// checkpointsHere is the only folder for checkpoints on this machine.
const checkpointsHere = container.BaseDir + "/checkpoints"

// CheckHere returns what a job that SageMaker would accept asks for and this machine does
// not do. The error joins errors of type [*FieldError].
func (j *Job) CheckHere() error {
	if j == nil {
		return errors.New("trainer: a nil job")
	}
	p := &problems{job: j}
	p.check(j.Source != "" || len(j.Command) > 0, "command", "is missing: write it after --, or set a script with --source DIR --entry FILE (the command of the image is not used on this machine)")
	p.check(j.Source == "" || len(j.Command) == 0, "command", "cannot be used with source here: use either a source with an entry, or a command, not both")
	for _, name := range slices.Sorted(maps.Keys(j.Channels)) {
		if ch := j.Channels[name]; ch.S3 != "" {
			p.checkPlainHere(name, ch)
		}
	}
	p.check(j.CheckpointPath == "" || path.Clean(j.CheckpointPath) == checkpointsHere, "checkpoint_path", "checkpoint_path is %s, and on this machine checkpoints are in %s", j.CheckpointPath, checkpointsHere)
	n := j.instances()
	p.check(n <= MaxHostsHere, "instance_count", "is %d, and on this machine a job has up to %d hosts; set another number with --instance-count", n, MaxHostsHere)
	p.check(j.Launcher != SMDDP, "launcher", "smddp is in AWS's images only; leave it out here, with --launcher ''")
	p.check(j.Launcher != MPI || n == 1, "launcher", "mpi reaches other hosts by SSH, which this machine's do not have; use --instance-count 1, or torchrun")
	p.check(j.LauncherGroup == "" || len(j.InstanceGroups) <= 1, "launcher_group", "on this machine a launcher starts the script on all hosts; leave it out, or the launcher")
	return errors.Join(p.errs...)
}

// checkPlainHere refuses what this machine does not do with a channel from S3: it copies its
// objects, which to a script is FastFile mode too.
func (p *problems) checkPlainHere(name string, ch *Channel) {
	const other = "; fill the channel with --channel %s=DIR instead"
	field := "channels." + name
	p.check(ch.InputMode != "Pipe", field+".input_mode", "pipes are not made on this machine"+other, name)
	p.check(ch.DataType == "" || ch.DataType == "S3Prefix", field+".data_type", "a manifest is not read on this machine"+other, name)
	p.check(ch.Compression == "" || ch.Compression == "None", field+".compression", "nothing is decompressed on this machine"+other, name)
	p.check(ch.RecordWrapper == "" || ch.RecordWrapper == "None", field+".record_wrapper", "nothing is wrapped on this machine"+other, name)
	p.check(ch.ShuffleSeed == nil, field+".shuffle_seed", "nothing is shuffled on this machine"+other, name)
}
