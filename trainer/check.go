package trainer

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/arn"
	"github.com/vaultpack/vaultpack/internal/awsname"
	"github.com/vaultpack/vaultpack/trainer/container"
	"github.com/vaultpack/vaultpack/trainer/metrics"
)

// Limits of the API, from its model:
// https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
var (
	envName       = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	kmsKeyID      = regexp.MustCompile(`^[a-zA-Z0-9:/_-]+$`)
	vpcID         = regexp.MustCompile(`^[-0-9a-zA-Z]{1,32}$`)
	containerPath = regexp.MustCompile(`^/[^\r\n]*$`)
)

const (
	maxArguments     = 100
	maxArgument      = 256
	ownArguments     = 7 // the minimum: the digest, sagemaker-run, a channel, a key, --
	maxChannels      = 20
	maxHyperparams   = 100
	maxEnvironment   = 100
	maxRuntime       = 28 * 24 * time.Hour
	maxKeepAlive     = 6 * time.Hour
	maxVolume        = 16384   // GB
	maxInstances     = 1 << 20 // more than any account has; counts are 32-bit numbers
	minPending       = 2 * time.Hour
	none             = "none" // the value of a key setting that means none
	ownChannel       = "vaultpack"
	keyChannel       = "vaultpack-key"
	codeChannel      = "code" // as the SageMaker Python SDK calls it
	defaultChannel   = "training"
	defaultVolume    = 30 // GB
	filesFormat      = "files"
	tarFormat        = "tar"
	defaultMaxRun    = 24 * time.Hour
	whyNoFastFile    = "a sealed channel cannot be %s: the data is opened in place, and that mode's folder is read-only or a pipe; leave it at File"
	whyNoNetworkKMS  = "a job without network cannot ask AWS KMS for the data key; name a second KMS key with key_channel (--key-channel ARN), and read in docs/TRAINING.md what that weakens, or leave network_isolation off and use a VPC"
	whyKeyNoIsolated = "the key channel is for jobs without network; without network_isolation the job asks AWS KMS, which is safer, so leave it out"
)

// isS3URI reports whether s is s3://BUCKET, with or without a key.
func isS3URI(s string) bool {
	rest, ok := strings.CutPrefix(s, "s3://")
	bucket, _, _ := strings.Cut(rest, "/")
	return ok && awsname.IsBucket(bucket) && !strings.Contains(rest, "\n")
}

// problems collects the mistakes in a job. local is true if the job will run on this
// machine: what only SageMaker needs may then be missing.
type problems struct {
	job    *Job
	local  bool
	limits limits
	errs   []error
}

func (p *problems) add(field, format string, args ...any) {
	p.errs = append(p.errs, &FieldError{Field: field, Origin: p.job.where(field), Problem: fmt.Sprintf(format, args...)})
}

// check adds a mistake unless ok.
func (p *problems) check(ok bool, field, format string, args ...any) {
	if !ok {
		p.add(field, format, args...)
	}
}

func (p *problems) oneOf(field, value string, allowed ...string) {
	p.check(value == "" || slices.Contains(allowed, value), field, "is %q, but must be one of %s", value, strings.Join(allowed, ", "))
}

func (p *problems) uri(field, value string) {
	p.check(value == "" || isS3URI(value) && len(value) <= 1024, field,
		"%q is not a place in S3 that SageMaker can use: write s3://BUCKET/PREFIX, at most 1024 characters, and an access point by its alias", value)
}

func (p *problems) key(field, value string) {
	p.check(value == "" || kmsKeyID.MatchString(value) && len(value) <= 2048, field, "%q does not name a KMS key", value)
}

func (p *problems) text(field, value string, max int) {
	p.check(utf8.RuneCountInString(value) <= max, field, "has %d characters, the limit is %d", utf8.RuneCountInString(value), max)
	p.check(!strings.ContainsAny(value, "\r\n"), field, "holds a line break")
}

// Check returns all mistakes in the description itself, without reading or
// sending anything. The error joins errors of type [*FieldError].
func (j *Job) Check() error {
	if j == nil {
		return errors.New("trainer: a nil job")
	}
	return j.check(&problems{job: j, limits: trainingLimits})
}

// CheckLocal is like [Job.Check], for a job that will run on this machine: image, role
// and instance type may be missing, and channels may be folders.
func (j *Job) CheckLocal() error {
	if j == nil {
		return errors.New("trainer: a nil job")
	}
	return j.check(&problems{job: j, local: true, limits: trainingLimits})
}

func (j *Job) check(p *problems) error {
	j.checkName(p)
	j.checkChannels(p)
	j.checkContainer(p)
	j.checkScript(p)
	j.checkInstances(p)
	j.checkOutput(p)
	j.checkNetwork(p)
	j.checkTimes(p)
	j.checkRest(p)
	p.check(len(j.Outputs) == 0, "outputs", "are those of a processing job: vaultpack process")
	return errors.Join(p.errs...)
}

func (j *Job) checkName(p *problems) {
	p.check(!dataset.IsFolder(j.Name), "name", "%q is what vaultpack calls a folder of each dataset, and policies tell the two by the name", j.Name)
	p.check(j.Name == "" || awsname.IsJob(j.Name), "name",
		"%q cannot name a job: 1 to 63 letters, digits and hyphens, no hyphen first or last", j.Name)
	p.check(j.AtLeast == 0 || j.AtLeast > 0 && j.Dataset != "", "at_least", "is the number of a version of the field dataset, from 1, and not %d", j.AtLeast)
}

func (j *Job) checkChannelName(p *problems, field, name string) {
	p.check(container.IsChannelName(name), field, "%q cannot name a channel: 1 to 64 letters, digits, dots, hyphens and underscores, a letter or digit first", name)
	p.check(name != ownChannel && name != keyChannel, field, "the channel %s is vaultpack's own; use another name", name)
	p.check(name != codeChannel || j.Source == "", field, "the channel %s carries the source; use another name", name)
}

func (j *Job) checkChannelCount(p *problems) {
	own := 1
	if j.KeyChannel != "" {
		own++
	}
	if j.Source != "" {
		own++
	}
	all := j.channels()
	p.check(len(all)+own <= p.limits.inputs, "channels", "there are %d, and %d of vaultpack's own; the limit is %d", len(all), own, p.limits.inputs)
}

func (j *Job) checkChannels(p *problems) {
	all := j.channels()
	sealed := 0
	for _, name := range slices.Sorted(maps.Keys(all)) {
		ch, field := all[name], "channels."+name
		if j.Channels[name] == nil {
			field = "dataset"
		}
		sub := func(s string) string {
			if field == "dataset" {
				return s
			}
			return field + "." + s
		}
		j.checkChannelName(p, field, name)
		if p.local && ch.Folder != "" {
			continue
		}
		p.check((ch.Dataset == "") != (ch.S3 == "") && ch.Folder == "", field, "needs one of dataset and s3")
		p.oneOf(sub("distribution"), ch.Distribution, "FullyReplicated", "ShardedByS3Key")
		p.oneOf(sub("input_mode"), ch.InputMode, "File", "FastFile", "Pipe")
		p.check(len(ch.InstanceGroups) <= 5, sub("instance_groups"), "names %d groups, the limit is 5", len(ch.InstanceGroups))
		for _, g := range ch.InstanceGroups {
			p.check(slices.ContainsFunc(j.InstanceGroups, func(x InstanceGroup) bool { return x.Name == g }), sub("instance_groups"), "there is no instance group %q", g)
		}
		if ch.Dataset == "" {
			p.uri(sub("s3"), ch.S3)
			p.oneOf(sub("data_type"), ch.DataType, "S3Prefix", "ManifestFile", "AugmentedManifestFile")
			p.oneOf(sub("compression"), ch.Compression, "None", "Gzip")
			p.oneOf(sub("record_wrapper"), ch.RecordWrapper, "None", "RecordIO")
			p.text(sub("content_type"), ch.ContentType, 256)
			p.check(len(ch.Attributes) <= 16, sub("attributes"), "there are %d, the limit is 16", len(ch.Attributes))
			p.check(ch.DataType != "AugmentedManifestFile" || ch.InputMode == "Pipe", sub("input_mode"), "an augmented manifest takes the input mode Pipe")
			continue
		}
		sealed++
		p.check(j.toAllGroups(ch.InstanceGroups), sub("instance_groups"), "names not all groups, and a sealed channel goes to all hosts: one that gets nothing could not tell that from data that was withheld")
		if ch.InputMode == "FastFile" || ch.InputMode == "Pipe" {
			p.add(sub("input_mode"), whyNoFastFile, ch.InputMode)
		}
		if _, err := dataset.ParseReference(ch.Dataset); err != nil {
			p.add(sub("dataset"), "%v", err)
		}
		for name, set := range map[string]bool{"compression": ch.Compression != "" && ch.Compression != "None", "record_wrapper": ch.RecordWrapper != "" && ch.RecordWrapper != "None",
			"data_type": ch.DataType != "", "attributes": ch.Attributes != nil, "content_type": ch.ContentType != "", "shuffle_seed": ch.ShuffleSeed != nil} {
			p.check(!set, sub(name), "is for plain channels; a sealed one is opened into files")
		}
	}
	p.check(sealed > 0, "dataset", "no sealed dataset is named; a job with plain channels only does not need vaultpack")
	p.check(j.Dataset == "" || j.Channels[defaultChannel] == nil, "dataset", "makes the channel %s, which channels has too; say it in one place", defaultChannel)
	p.check(j.Distribution == "" || j.Dataset != "", "distribution", "is that of dataset; give a channel its own")
	j.checkChannelCount(p)
	p.oneOf("format", j.Format, filesFormat, tarFormat)
}

// channels returns all channels that the user asks for.
func (j *Job) channels() map[string]*Channel {
	all := maps.Clone(j.Channels)
	if all == nil {
		all = map[string]*Channel{}
	}
	if j.Dataset != "" {
		if _, ok := all[defaultChannel]; !ok {
			all[defaultChannel] = &Channel{Dataset: j.Dataset, Distribution: j.Distribution}
		}
	}
	return all
}

func (j *Job) checkContainer(p *problems) {
	p.check(j.Image != "" || p.local, "image", "is missing: the training image, such as ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG")
	p.text("image", j.Image, 255)
	p.check(!strings.ContainsAny(j.Image, " \t"), "image", "%q holds a space", j.Image)
	p.check(j.Role != "" || p.local, "role", "is missing: the ARN of the IAM role that the job runs as")
	p.check(j.Role == "" || arn.IsRole(j.Role), "role", "%q is not the ARN of an IAM role, such as arn:aws:iam::111122223333:role/training", j.Role)
	p.oneOf("arch", j.Arch, "amd64", "arm64")
}

// checkScript checks what the script will see.
func (j *Job) checkScript(p *problems) {
	p.check(len(j.Command) <= maxArguments-ownArguments, "command", "the container would take at least %d arguments, the limit is %d; put a longer command into a script of the image or of the source", len(j.Command)+ownArguments, maxArguments)
	for i, arg := range j.Command {
		p.text(fmt.Sprintf("command.%d", i), arg, maxArgument)
	}
	sent := j.SentHyperparameters()
	for _, k := range slices.Sorted(maps.Keys(sent)) {
		field, value := "hyperparameters."+k, sent[k]
		p.check(k != "", "hyperparameters", "one has no name")
		p.text(field, k, 256)
		p.text(field, value, 2500)
		p.check(j.Source == "" || !strings.HasPrefix(k, "sagemaker_"), field, "names with sagemaker_ are set by source, entry and launcher")
	}
	n := len(j.Hyperparameters)
	if j.Source != "" {
		n += scriptParameters + len(j.launcherParameters())
	}
	p.check(n <= maxHyperparams, "hyperparameters", "there are %d, those of script mode included; the limit is %d", n, maxHyperparams)
	for _, k := range slices.Sorted(maps.Keys(j.Environment)) {
		field := "environment." + k
		most := p.limits.environment
		p.check(envName.MatchString(k) && len(k) <= most, field, "%q cannot name an environment variable of a job: letters, digits and underscores, no digit first, at most %d", k, most)
		p.check(utf8.RuneCountInString(j.Environment[k]) <= most, field, "has %d characters, the limit is %d", utf8.RuneCountInString(j.Environment[k]), most)
	}
	p.check(len(j.Environment) <= maxEnvironment, "environment", "there are %d variables, the limit is %d", len(j.Environment), maxEnvironment)
	p.check((j.Source == "") == (j.Entry == ""), "entry", "source (a folder) and entry (the script in it) are required together")
	p.check(j.Entry == "" || path.Clean(j.Entry) == j.Entry && !path.IsAbs(j.Entry) && !strings.HasPrefix(j.Entry, "../"), "entry", "%q is not the path of a script inside the source folder", j.Entry)
}

func (j *Job) checkInstances(p *problems) {
	j.checkLauncher(p)
	checkType := func(field, typ string) {
		p.check(instanceType.MatchString(typ), field, "%q is not an instance type, such as ml.m5.xlarge", typ)
	}
	if len(j.InstanceGroups) > 0 {
		p.check(j.InstanceType == "" && !j.given("instance_count"), "instance_groups", "cannot be used with instance_type and instance_count: each group has its own")
		p.check(len(j.InstanceGroups) <= 5, "instance_groups", "there are %d, the limit is 5", len(j.InstanceGroups))
		seen := map[string]bool{}
		for i, g := range j.InstanceGroups {
			field := fmt.Sprintf("instance_groups.%d", i)
			p.check(g.Name != "" && !seen[g.Name], field, "needs a name of its own")
			p.text(field, g.Name, 64)
			p.check(g.Count >= 1 && g.Count <= maxInstances, field, "has %d instances, but has to have 1 to %d", g.Count, maxInstances)
			checkType(field, g.Type)
			p.check(j.Arch != "" || archOf(g.Type) == archOf(j.InstanceGroups[0].Type), field,
				"%s and %s are of two architectures, but a job carries one binary", g.Type, j.InstanceGroups[0].Type)
			seen[g.Name] = true
		}
	} else {
		p.check(j.InstanceType != "" || p.local, "instance_type", "is missing, such as ml.m5.xlarge")
		if j.InstanceType != "" {
			checkType("instance_type", j.InstanceType)
		}
		p.check(j.InstanceCount >= 1 && j.InstanceCount <= p.limits.instances || !j.given("instance_count") && j.InstanceCount == 0, "instance_count", "is %d, but must be from 1 to %d", j.InstanceCount, p.limits.instances)
	}
	p.check(j.VolumeSize >= 1 && j.VolumeSize <= maxVolume || !j.given("volume_size") && j.VolumeSize == 0, "volume_size", "is %d GB, but must be from 1 to %d", j.VolumeSize, maxVolume)
	if j.VolumeKMSKey != none {
		p.key("volume_kms_key", j.VolumeKMSKey)
		nvme := slices.ContainsFunc(j.types(), hasNVMe)
		p.check(j.VolumeKMSKey == "" || !nvme, "volume_kms_key", "%s has local disks, which encrypt themselves and take no key; leave it out", strings.Join(j.types(), ", "))
	}
	p.check(j.KeepAlive >= 0 && j.KeepAlive <= Duration(maxKeepAlive), "keep_alive", "is %v, the limit is %v", time.Duration(j.KeepAlive), maxKeepAlive)
	p.check(j.KeepAlive == 0 || !j.Spot, "keep_alive", "warm pools cannot be used with spot")
	p.check(j.KeepAlive == 0 || len(j.InstanceGroups) == 0, "keep_alive", "warm pools cannot be used with instance_groups")
}

// types returns the instance types that the job asks for.
func (j *Job) types() []string {
	if len(j.InstanceGroups) == 0 {
		return []string{j.InstanceType}
	}
	var all []string
	for _, g := range j.InstanceGroups {
		all = append(all, g.Type)
	}
	return all
}

// toAllGroups reports whether a channel with instance groups goes to every host.
func (j *Job) toAllGroups(groups []string) bool {
	return len(groups) == 0 || !slices.ContainsFunc(j.InstanceGroups, func(g InstanceGroup) bool { return !slices.Contains(groups, g.Name) })
}

// Hosts returns how many hosts the job has.
func (j *Job) Hosts() int {
	if j == nil {
		return 0
	}
	return j.instances()
}

// instances returns the number of instances.
func (j *Job) instances() int {
	if len(j.InstanceGroups) == 0 {
		return max(j.InstanceCount, 1)
	}
	n := 0
	for _, g := range j.InstanceGroups {
		n += g.Count
	}
	return n
}

func (j *Job) checkOutput(p *problems) {
	p.uri("output", j.Output)
	p.key("output_kms_key", j.OutputKMSKey)
	p.check(!j.SealModel || j.OutputCompression != string(types.OutputCompressionTypeNone), "seal_model", "requires output_compression GZIP: model get opens a model.tar.gz")
	p.oneOf("output_compression", j.OutputCompression, string(types.OutputCompressionTypeGzip), string(types.OutputCompressionTypeNone))
	p.uri("checkpoints", j.Checkpoints)
	j.checkCheckpoints(p)
	p.uri("tensorboard", j.TensorBoard)
	p.check(j.TensorBoardPath == "" || j.TensorBoard != "" && containerPath.MatchString(j.TensorBoardPath) && len(j.TensorBoardPath) <= 4096, "tensorboard_path", "is an absolute path, and requires tensorboard, the place in S3")
	p.uri("profiler", j.Profiler)
}

func (j *Job) checkNetwork(p *problems) {
	p.check((len(j.Subnets) == 0) == (len(j.SecurityGroups) == 0), "subnets", "subnets and security_groups are required together")
	p.check(len(j.Subnets) <= 16, "subnets", "there are %d, the limit is 16", len(j.Subnets))
	p.check(len(j.SecurityGroups) <= 5, "security_groups", "there are %d, the limit is 5", len(j.SecurityGroups))
	for _, s := range j.Subnets {
		p.check(vpcID.MatchString(s), "subnets", "%q is not the ID of a subnet", s)
	}
	for _, s := range j.SecurityGroups {
		p.check(vpcID.MatchString(s), "security_groups", "%q is not the ID of a security group", s)
	}
	p.check(!j.NetworkIsolation || j.KeyChannel != "", "network_isolation", whyNoNetworkKMS)
	p.check(j.KeyChannel == "" || j.NetworkIsolation, "key_channel", whyKeyNoIsolated)
	p.key("key_channel", j.KeyChannel)
}

func (j *Job) checkTimes(p *problems) {
	run := j.runtime()
	p.check(run >= time.Second && run <= p.limits.runtime, "max_runtime", "is %v, but must be from 1s to %v (%d days)", run, p.limits.runtime, p.limits.runtime/(24*time.Hour))
	wait := time.Duration(j.MaxWait)
	p.check(wait == 0 || j.Spot, "max_wait", "is for spot instances")
	p.check(!j.Spot || wait == 0 || wait >= run, "max_wait", "is %v, less than max_runtime %v; it includes that", wait, run)
	p.check(wait >= 0 && wait <= 365*24*time.Hour, "max_wait", "is %v, which is out of range", wait)
	pending := time.Duration(j.MaxPending)
	p.check(pending == 0 || pending >= minPending && pending <= maxRuntime, "max_pending", "is %v, but must be from %v to %v", pending, minPending, maxRuntime)
	p.check(j.Retries >= 0 && j.Retries <= 30 && (j.Retries > 0 || !j.given("retries")), "retries", "is %d, but must be from 1 to 30", j.Retries)
}

func (j *Job) runtime() time.Duration {
	if j.MaxRuntime == 0 && !j.given("max_runtime") {
		return defaultMaxRun
	}
	return time.Duration(j.MaxRuntime)
}

func (j *Job) checkRest(p *problems) {
	p.check(len(j.Metrics) <= 40, "metrics", "there are %d, the limit is 40", len(j.Metrics))
	for i, m := range j.Metrics {
		field := fmt.Sprintf("metrics.%d", i)
		p.check(m.Name != "" && m.Regex != "", field, "needs a name and a regex")
		p.text(field, m.Name, 255)
		p.text(field, m.Regex, 500)
		err := metrics.Check(m.Regex)
		p.check(err == nil, field, "%v", err)
	}
	j.checkTags(p)
}
