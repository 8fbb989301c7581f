package trainer

import (
	"errors"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/awsname"
)

// limits are the limits that differ between the two kinds of jobs.
type limits struct {
	inputs      int
	environment int // characters of a name or value
	runtime     time.Duration
	instances   int
}

var trainingLimits = limits{inputs: maxChannels, environment: 512, runtime: maxRuntime, instances: maxInstances}

// Limits of CreateProcessingJob, from its model:
// https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateProcessingJob.html
var processingLimits = limits{inputs: 10, environment: 256, runtime: 7 * 24 * time.Hour, instances: 100}

const maxOutputs = 10

var outputName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// onlyTraining are the fields that a processing job does not have.
var onlyTraining = []string{"instance_groups", "keep_alive", "hyperparameters", "launcher", "launcher_group", "processes_per_host", "mpi_options",
	"output", "output_compression", "max_pending", "spot", "max_wait", "checkpoints", "checkpoint_path", "retries", "seal_model", "metrics",
	"tensorboard", "tensorboard_path", "profiler"}

// onlyTrainingChannel are the fields of a channel that an input of a processing job does
// not have.
var onlyTrainingChannel = []string{"content_type", "record_wrapper", "shuffle_seed", "attributes", "instance_groups"}

// CheckProcessing is like [Job.Check], for a processing job. A field that processing jobs
// do not have is a mistake.
func (j *Job) CheckProcessing() error {
	if j == nil {
		return errors.New("trainer: a nil job")
	}
	p := &problems{job: j, limits: processingLimits}
	for _, field := range onlyTraining {
		p.check(!isSet(j, field), field, "is for training jobs; a processing job has no such thing")
	}
	for _, name := range slices.Sorted(maps.Keys(j.Channels)) {
		ch := j.Channels[name]
		for _, field := range onlyTrainingChannel {
			p.check(!isSet(ch, field), "channels."+name+"."+field, "is for training jobs; an input of a processing job has no such thing")
		}
		p.check(ch.InputMode != "FastFile", "channels."+name+".input_mode", "is for training jobs; a processing job has File and Pipe")
		p.check(ch.DataType != "AugmentedManifestFile", "channels."+name+".data_type", "is for training jobs; a processing job has S3Prefix and ManifestFile")
	}
	j.checkName(p)
	j.checkChannels(p)
	j.checkContainer(p)
	j.checkScript(p)
	j.checkInstances(p)
	p.key("output_kms_key", j.OutputKMSKey)
	j.checkOutputs(p)
	j.checkNetwork(p)
	j.checkTimes(p)
	j.checkTags(p)
	return errors.Join(p.errs...)
}

func (j *Job) checkTags(p *problems) {
	p.check(len(j.Tags) <= 50, "tags", "there are %d, the limit is 50", len(j.Tags))
	for _, k := range slices.Sorted(maps.Keys(j.Tags)) {
		p.check(awsname.IsTag(k, j.Tags[k]), "tags."+k,
			"is not a tag of AWS: keys have 1 to 128 characters and do not begin with aws:, values up to 256; all are letters, digits, spaces and _.:/=+-@")
	}
}

func (j *Job) checkOutputs(p *problems) {
	p.check(len(j.Outputs) <= maxOutputs, "outputs", "there are %d, the limit is %d", len(j.Outputs), maxOutputs)
	by := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(j.Outputs)) {
		field, set := "outputs."+name, j.Outputs[name]
		p.check(outputName.MatchString(name), field, "%q cannot name an output: 1 to 64 letters, digits, dots, hyphens and underscores, a letter or digit first", name)
		if err := dataset.CheckName(set); err != nil {
			p.add(field, "%v", err)
		}
		p.check(by[set] == "", field, "%s and %s cannot both be the next version of %s", by[set], name, set)
		by[set] = name
	}
}

// isSet reports whether a field, given by its YAML name, is not its type's zero value.
func isSet(of any, field string) bool {
	v := reflect.ValueOf(of).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name == field {
			return !v.Field(i).IsZero()
		}
	}
	panic("trainer: there is no field " + field)
}

// processingFlags are those of sagemaker-run that only processing jobs have.
func processingFlags(j *Job) []string {
	flags := []string{"--processing"}
	for _, name := range slices.Sorted(maps.Keys(j.Outputs)) {
		flags = append(flags, "--output", name+"="+j.Outputs[name])
	}
	return flags
}
