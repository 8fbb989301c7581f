package trainer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
)

// flags returns the flags of sagemaker-run.
func (l *Launcher) flags(p *staging) ([]string, error) {
	var flags []string
	for _, s := range p.Sealed {
		flags = append(flags, s.flags()...)
	}
	if key := p.job.KeyChannel; key != "" {
		if key == l.SSEKey || slices.Contains(l.Vault.Keys.Names, key) {
			return nil, &FieldError{Field: "key_channel", Origin: p.job.where("key_channel"),
				Problem: fmt.Sprintf("%s is a key of the vault itself, so whoever may read the vault could read the job's key too; name another KMS key", key)}
		}
		flags = append(flags, "--key-channel", keyChannel)
	} else {
		keys, related, err := l.kmsKeys(p.Sealed)
		if err != nil {
			return nil, err
		}
		if related {
			flags = append(flags, "--kms-related")
		}
		for _, k := range keys {
			flags = append(flags, "--kms-key", k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(l.Vault.Context)) {
		flags = append(flags, "--context", k+"="+l.Vault.Context[k])
	}
	if p.certify {
		flags = append(flags, "--signing", objects.JobFolder(p.dataset(), p.run.Job)+provenance.SigningName)
	}
	if slices.Contains(p.ownKeys, sealedmodel.KeyName) {
		flags = append(flags, "--model-key", objects.JobFolder(p.dataset(), p.run.Job)+sealedmodel.KeyName)
	}
	flags = append(flags, p.checkpointFlags()...)
	if p.job.Format == tarFormat {
		flags = append(flags, "--format", tarFormat)
	}
	return flags, nil
}

// request makes the request for a job that has been checked.
func (l *Launcher) request(p *Plan, name string, args []string) error {
	j := p.job
	in := &sagemaker.CreateTrainingJobInput{
		TrainingJobName: &name,
		RoleArn:         &j.Role,
		AlgorithmSpecification: &types.AlgorithmSpecification{
			TrainingImage: &j.Image, TrainingInputMode: types.TrainingInputModeFile,
			ContainerEntrypoint: []string{"/bin/sh", "-c", openScript, "vaultpack"}, ContainerArguments: args,
		},
		StoppingCondition: &types.StoppingCondition{MaxRuntimeInSeconds: Duration(j.runtime()).seconds(), MaxPendingTimeInSeconds: j.MaxPending.seconds()},
		Environment:       j.Environment,
	}
	p.Request = in
	for _, m := range j.Metrics {
		in.AlgorithmSpecification.MetricDefinitions = append(in.AlgorithmSpecification.MetricDefinitions, types.MetricDefinition{Name: &m.Name, Regex: &m.Regex})
	}
	for _, k := range slices.Sorted(maps.Keys(j.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: &k, Value: aws.String(j.Tags[k])})
	}
	if len(j.Subnets) > 0 {
		in.VpcConfig = &types.VpcConfig{Subnets: j.Subnets, SecurityGroupIds: j.SecurityGroups}
	}
	if j.Retries > 0 {
		in.RetryStrategy = &types.RetryStrategy{MaximumRetryAttempts: aws.Int32(int32(j.Retries))}
	}
	l.addParameters(p, name)
	p.addChannels(name)
	p.addProtection()
	l.addOutput(p, name)
	return l.addResources(p)
}

func (l *Launcher) addParameters(p *Plan, name string) {
	params := p.job.SentHyperparameters()
	if p.source != nil {
		scriptMode(params, p.job.Entry, name, l.Region)
		maps.Copy(params, p.job.launcherParameters())
	}
	if len(params) > 0 {
		p.Request.HyperParameters = params
	}
}

// channel returns a File channel, with the settings that all of vaultpack's own channels have.
func channel(name string, typ types.S3DataType, uri string) types.Channel {
	return types.Channel{ChannelName: &name, InputMode: types.TrainingInputModeFile, CompressionType: types.CompressionTypeNone,
		DataSource: &types.DataSource{S3DataSource: &types.S3DataSource{S3DataType: typ, S3Uri: &uri, S3DataDistributionType: types.S3DataDistributionFullyReplicated}}}
}

func (p *Plan) addChannels(name string) {
	in := p.Request
	add := func(c types.Channel) { in.InputDataConfig = append(in.InputDataConfig, c) }
	add(channel(ownChannel, types.S3DataTypeManifestFile, p.manifestURI(len(p.Sealed))))
	for i, s := range p.Sealed {
		c := channel(s.Channel, types.S3DataTypeManifestFile, p.manifestURI(i))
		if s.Sharded {
			c.DataSource.S3DataSource.S3DataDistributionType = types.S3DataDistributionShardedByS3Key
		}
		c.DataSource.S3DataSource.InstanceGroupNames = s.groups
		add(c)
	}
	for _, chName := range slices.Sorted(maps.Keys(p.job.Channels)) {
		if ch := p.job.Channels[chName]; ch.Dataset == "" {
			add(plainChannel(chName, ch))
			p.weaken("channel %s is not encrypted by vaultpack: the job reads it from S3 as it is, and nothing checks it", chName)
		}
	}
	own := p.root() + objects.JobFolder(p.dataset(), name)
	if p.source != nil {
		add(channel(codeChannel, types.S3DataTypeS3Prefix, own+"source/"))
	}
	if p.job.KeyChannel != "" {
		add(channel(keyChannel, types.S3DataTypeS3Prefix, own+"key/"))
	}
}

func plainChannel(name string, ch *Channel) types.Channel {
	c := channel(name, types.S3DataTypeS3Prefix, ch.S3)
	src := c.DataSource.S3DataSource
	if ch.DataType != "" {
		src.S3DataType = types.S3DataType(ch.DataType)
	}
	if ch.Distribution != "" {
		src.S3DataDistributionType = types.S3DataDistribution(ch.Distribution)
	}
	if ch.InputMode != "" {
		c.InputMode = types.TrainingInputMode(ch.InputMode)
	}
	if ch.Compression != "" {
		c.CompressionType = types.CompressionType(ch.Compression)
	}
	if ch.ContentType != "" {
		c.ContentType = &ch.ContentType
	}
	if ch.ShuffleSeed != nil {
		c.ShuffleConfig = &types.ShuffleConfig{Seed: ch.ShuffleSeed}
	}
	c.RecordWrapperType = types.RecordWrapper(ch.RecordWrapper)
	src.AttributeNames, src.InstanceGroupNames = ch.Attributes, ch.InstanceGroups
	return c
}

func (p *Plan) addProtection() {
	if p.encryptsTraffic() {
		p.Request.EnableInterContainerTrafficEncryption = aws.Bool(true)
	}
	if p.job.NetworkIsolation {
		p.Request.EnableNetworkIsolation = aws.Bool(true)
		until := "until it trains"
		if p.keepKey() {
			until = "until it ends, since it may start again"
		}
		p.weakenByKey(until)
	}
}

// encryptsTraffic reports whether the hosts encrypt what they send to each other.
func (p *staging) encryptsTraffic() bool {
	j := p.job
	encrypt := j.instances() > 1
	if j.InterContainerEncryption != nil {
		if encrypt && !*j.InterContainerEncryption {
			p.weaken("the hosts talk to each other in the clear: inter_container_encryption is off")
		}
		encrypt = *j.InterContainerEncryption
	}
	return encrypt
}

func (p *staging) weakenByKey(until string) {
	p.weaken("a key that opens the data lies in S3, encrypted under the KMS key %s, for as long as the job needs it (%s); "+
		"who may read the bucket and use that KMS key can open the data, and AWS KMS does not log it with the dataset's name", p.job.KeyChannel, until)
}

// keepKey reports whether the job may refetch its channels after it has begun to
// train.
func (p *Plan) keepKey() bool { return p.job.Spot || p.job.Retries > 0 }

func (l *Launcher) addOutput(p *Plan, name string) {
	j, in := p.job, p.Request
	in.OutputDataConfig = &types.OutputDataConfig{S3OutputPath: aws.String(p.root() + objects.JobsFolder + p.dataset()), CompressionType: types.OutputCompressionType(j.OutputCompression)}
	if j.Output != "" {
		in.OutputDataConfig.S3OutputPath = &j.Output
	}
	switch key := j.OutputKMSKey; {
	case key == none:
	case key != "":
		in.OutputDataConfig.KmsKeyId = &key
	case l.SSEKey != "":
		in.OutputDataConfig.KmsKeyId = &l.SSEKey
	}
	if in.OutputDataConfig.KmsKeyId == nil {
		p.weaken("the model is encrypted in S3 by the default of the account and the bucket only: no output_kms_key is set; models can leak what they were trained on")
	}
	p.addCheckpoints(name)
	if j.Spot {
		in.EnableManagedSpotTraining = aws.Bool(true)
		wait := j.MaxWait
		if wait == 0 {
			wait = Duration(2 * j.runtime())
		}
		in.StoppingCondition.MaxWaitTimeInSeconds = wait.seconds()
	}
	if j.TensorBoard != "" {
		in.TensorBoardOutputConfig = &types.TensorBoardOutputConfig{S3OutputPath: &j.TensorBoard}
		if j.TensorBoardPath != "" {
			in.TensorBoardOutputConfig.LocalPath = &j.TensorBoardPath
		}
		p.weaken("what the script writes for TensorBoard is encrypted in S3 as the default of the bucket says (%s)", j.TensorBoard)
	}
	if j.Profiler != "" {
		in.ProfilerConfig = &types.ProfilerConfig{S3OutputPath: &j.Profiler}
	}
}

func (l *Launcher) addResources(p *Plan) error {
	j := p.job
	r := &types.ResourceConfig{KeepAlivePeriodInSeconds: j.KeepAlive.seconds()}
	p.Request.ResourceConfig = r
	if len(j.InstanceGroups) == 0 {
		r.InstanceType, r.InstanceCount = types.TrainingInstanceType(j.InstanceType), aws.Int32(int32(j.instances()))
	}
	for _, g := range j.InstanceGroups {
		r.InstanceGroups = append(r.InstanceGroups, types.InstanceGroup{InstanceGroupName: &g.Name, InstanceType: types.TrainingInstanceType(g.Type), InstanceCount: aws.Int32(int32(g.Count))})
	}
	var err error
	r.VolumeSizeInGB, err = p.volumeSize()
	r.VolumeKmsKeyId = l.volumeKey(&p.staging)
	return err
}

// withDisks returns how many of the job's instance types have local disks.
func (p *staging) withDisks() (n int) {
	for _, t := range p.job.types() {
		if hasNVMe(t) {
			n++
		}
	}
	return n
}

// volumeSize returns the size of each host's volume, or nil if no host has one.
func (p *staging) volumeSize() (*int32, error) {
	j, need := p.job, p.volume()
	volumes := p.withDisks() < len(j.types())
	switch {
	case j.VolumeSize > 0 && j.VolumeSize < need && volumes:
		return nil, &FieldError{Field: "volume_size", Origin: j.where("volume_size"),
			Problem: "is too small: the sealed data takes most of it, and is opened beside itself a pack at a time; leave it out, or give more"}
	case j.VolumeSize > 0:
		return aws.Int32(int32(j.VolumeSize)), nil
	case !volumes:
		return nil, nil
	}
	size := max(defaultVolume, need+need/4+10)
	if size > maxVolume {
		return nil, &FieldError{Field: "volume_size", Origin: j.where("volume_size"), Problem: fmt.Sprintf(
			"cannot be large enough: the sealed data and what it is opened to take %d GB on a host, and a volume has at most %d; use more hosts and ShardedByS3Key, or instances with local disks", size, maxVolume)}
	}
	return aws.Int32(int32(size)), nil
}

// volumeKey returns the KMS key of the hosts' volumes.
func (l *Launcher) volumeKey(p *staging) *string {
	j := p.job
	switch {
	case p.withDisks() == len(j.types()): // these encrypt themselves
	case p.withDisks() > 0:
		disks, volumes := j.groupsByStorage()
		p.weaken("the volumes of the instance groups %s are encrypted with a key of SageMaker's: the request has one key for all groups, and %s, with local disks, takes none; the opened data lies on them while the job runs",
			strings.Join(volumes, ", "), strings.Join(disks, ", "))
	case j.VolumeKMSKey == none:
		p.weaken("the hosts' volumes are encrypted with a key of SageMaker's: volume_kms_key is none; the opened data lies on them while the job runs")
	case j.VolumeKMSKey != "":
		return &j.VolumeKMSKey
	case l.SSEKey != "":
		return &l.SSEKey
	default:
		p.weaken("the hosts' volumes are encrypted with a key of SageMaker's: no volume_kms_key is set; the opened data lies on them while the job runs")
	}
	return nil
}

// groupsByStorage returns the names of the instance groups whose instances have local
// disks, and of those that get volumes.
func (j *Job) groupsByStorage() (disks, volumes []string) {
	for _, g := range j.InstanceGroups {
		if hasNVMe(g.Type) {
			disks = append(disks, g.Name)
		} else {
			volumes = append(volumes, g.Name)
		}
	}
	return disks, volumes
}

// volume returns how many GB the sealed channels take on one host.
func (p *staging) volume() int {
	var n int64
	for _, s := range p.Sealed {
		share := s.size()
		if s.Sharded {
			share = min(share, 2*share/int64(p.job.hosts(s.groups)))
		}
		if n += share; n < 0 || n > 1<<60 { // more than the number type can hold
			return 1 << 30
		}
	}
	return int((n + 1<<30 - 1) >> 30)
}

// JSON returns the body of the request as it is sent, indented and with sorted names.
func (p *Plan) JSON() ([]byte, error) {
	if p == nil || p.Request == nil {
		return nil, errNoPlan
	}
	return body(func(ctx context.Context, c *sagemaker.Client) error {
		_, err := c.CreateTrainingJob(ctx, p.Request)
		return err
	})
}

// body returns the body of the request that the call would send.
func body(call func(context.Context, *sagemaker.Client) error) ([]byte, error) {
	var sent []byte
	client := sagemaker.New(sagemaker.Options{Region: "us-east-1", Credentials: aws.AnonymousCredentials{}, HTTPClient: doer(func(r *http.Request) (*http.Response, error) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		sent = b
		return nil, errNotSent
	}), RetryMaxAttempts: 1})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := call(ctx, client); !errors.Is(err, errNotSent) {
		return nil, err
	}
	return indent(sent)
}

var errNotSent = errors.New("not sent")

type doer func(*http.Request) (*http.Response, error)

func (f doer) Do(r *http.Request) (*http.Response, error) { return f(r) }

func indent(body []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}
