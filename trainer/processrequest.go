package trainer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/trainer/container"
	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/trainer/sealedmodel"
)

// A ProcessingPlan is a checked processing job, with everything that is needed to launch
// it. The caller must close it.
type ProcessingPlan struct {
	Request *sagemaker.CreateProcessingJobInput
	staging
}

// Name returns the job's name.
func (p *ProcessingPlan) Name() string {
	if p.Request == nil {
		return ""
	}
	return aws.ToString(p.Request.ProcessingJobName)
}

// JSON returns the body of the request as it is sent, indented and with sorted names.
func (p *ProcessingPlan) JSON() ([]byte, error) {
	if p == nil || p.Request == nil {
		return nil, errNoPlan
	}
	return body(func(ctx context.Context, c *sagemaker.Client) error {
		_, err := c.CreateProcessingJob(ctx, p.Request)
		return err
	})
}

// PlanProcessing is like [Launcher.Plan], for a processing job.
func (l *Launcher) PlanProcessing(ctx context.Context, j *Job) (_ *ProcessingPlan, err error) {
	if err := given.Check(ctx, l.usable() && j != nil, errNoLauncher); err != nil {
		return nil, err
	}
	if err := j.CheckProcessing(); err != nil {
		return nil, err
	}
	p := &ProcessingPlan{staging: staging{job: j}}
	if len(j.Outputs) > 0 {
		p.ownKeys = []string{sealedmodel.KeyName}
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	command := func(arch string) ([]string, string, error) { return l.processingCommand(ctx, j, arch) }
	args, err := l.prepare(ctx, &p.staging, inProcessing, command)
	if err != nil {
		return nil, err
	}
	if err := l.checkSigners(ctx, p); err != nil {
		return nil, err
	}
	if err := l.processingRequest(p, args); err != nil {
		return nil, err
	}
	p.describeInputs()
	c := p.Request.ProcessingResources.ClusterConfig
	p.run.Instances = []string{fmt.Sprintf("%s:%d", c.InstanceType, aws.ToInt32(c.InstanceCount))}
	p.run.Output = p.outputURI("")
	return p, nil
}

// checkSigners determines before the job runs whether its outputs can become versions:
// the job must sign them, and whoever commits them must be a signer of their datasets.
func (l *Launcher) checkSigners(ctx context.Context, p *ProcessingPlan) error {
	if len(p.job.Outputs) > 0 && !p.certify && !p.job.NoProvenance {
		return &FieldError{Field: "outputs", Origin: p.job.where("outputs"), Problem: fmt.Sprintf(
			"could be exchanged for others by anybody who may read dataset %s and write to the bucket, since the job cannot sign them: %v; with no_provenance (--no-provenance) they are taken unsigned",
			p.dataset(), provenance.Check(ctx, p.main().set))}
	}
	for _, name := range slices.Sorted(maps.Keys(p.job.Outputs)) {
		d, err := dataset.Open(l.Vault, p.job.Outputs[name])
		if err != nil {
			return err
		}
		_, err = d.Latest(ctx)
		if err == nil {
			err = provenance.Check(ctx, d)
		} else if errors.Is(err, dataset.ErrUnknownDataset) {
			err = nil
		}
		d.Close()
		if err != nil {
			return fmt.Errorf("the output %s, which is to become a version of dataset %s: %w", name, p.job.Outputs[name], err)
		}
	}
	return nil
}

// outputURI returns the place of an output, below the place of all outputs.
func (p *ProcessingPlan) outputURI(name string) string {
	return p.root() + objects.JobFolder(p.dataset(), p.run.Job) + "output/" + name
}

// processingRequest makes the request for a processing job that has been checked.
func (l *Launcher) processingRequest(p *ProcessingPlan, args []string) error {
	j := p.job
	in := &sagemaker.CreateProcessingJobInput{
		ProcessingJobName: &p.run.Job, RoleArn: &j.Role, Environment: j.Environment,
		AppSpecification: &types.AppSpecification{ImageUri: &j.Image,
			ContainerEntrypoint: []string{"/bin/sh", "-c", openProcessing, "vaultpack"}, ContainerArguments: args},
		StoppingCondition: &types.ProcessingStoppingCondition{MaxRuntimeInSeconds: Duration(j.runtime()).seconds()},
	}
	p.Request = in
	for _, k := range slices.Sorted(maps.Keys(j.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: &k, Value: aws.String(j.Tags[k])})
	}
	p.addInputs()
	l.addOutputs(p)
	p.addNetwork()
	cluster := &types.ProcessingClusterConfig{InstanceType: types.ProcessingInstanceType(j.InstanceType), InstanceCount: aws.Int32(int32(j.instances()))}
	in.ProcessingResources = &types.ProcessingResources{ClusterConfig: cluster}
	var err error
	if cluster.VolumeSizeInGB, err = p.volumeSize(); err != nil {
		return err
	}
	if cluster.VolumeSizeInGB == nil { // required here, even for instances with local disks
		cluster.VolumeSizeInGB = aws.Int32(defaultVolume)
	}
	cluster.VolumeKmsKeyId = l.volumeKey(&p.staging)
	return nil
}

func (p *ProcessingPlan) addNetwork() {
	n := types.NetworkConfig{}
	if p.encryptsTraffic() {
		n.EnableInterContainerTrafficEncryption = aws.Bool(true)
	}
	if p.job.NetworkIsolation {
		n.EnableNetworkIsolation = aws.Bool(true)
		p.weakenByKey("until it ends")
	}
	if len(p.job.Subnets) > 0 {
		n.VpcConfig = &types.VpcConfig{Subnets: p.job.Subnets, SecurityGroupIds: p.job.SecurityGroups}
	}
	if n.EnableInterContainerTrafficEncryption != nil || n.EnableNetworkIsolation != nil || n.VpcConfig != nil {
		p.Request.NetworkConfig = &n
	}
}

// input returns an input in File mode, with the settings that all of vaultpack's own inputs
// have.
func input(name string, typ types.ProcessingS3DataType, uri string) types.ProcessingInput {
	return types.ProcessingInput{InputName: &name, S3Input: &types.ProcessingS3Input{S3Uri: &uri, S3DataType: typ, LocalPath: aws.String(container.ProcessingInput(name)),
		S3InputMode: types.ProcessingS3InputModeFile, S3DataDistributionType: types.ProcessingS3DataDistributionTypeFullyreplicated, S3CompressionType: types.ProcessingS3CompressionTypeNone}}
}

func (p *ProcessingPlan) addInputs() {
	in := p.Request
	add := func(i types.ProcessingInput) { in.ProcessingInputs = append(in.ProcessingInputs, i) }
	add(input(ownChannel, types.ProcessingS3DataTypeManifestFile, p.manifestURI(len(p.Sealed))))
	for i, s := range p.Sealed {
		c := input(s.Channel, types.ProcessingS3DataTypeManifestFile, p.manifestURI(i))
		if s.Sharded {
			c.S3Input.S3DataDistributionType = types.ProcessingS3DataDistributionTypeShardedbys3key
		}
		add(c)
	}
	for _, name := range slices.Sorted(maps.Keys(p.job.Channels)) {
		if ch := p.job.Channels[name]; ch.Dataset == "" {
			add(plainInput(name, ch))
			p.weaken("channel %s is not encrypted by vaultpack: the job reads it from S3 as it is, and nothing checks it", name)
		}
	}
	own := p.root() + objects.JobFolder(p.dataset(), p.run.Job)
	if p.source != nil {
		add(input(codeChannel, types.ProcessingS3DataTypeS3Prefix, own+"source/"))
	}
	if p.job.KeyChannel != "" {
		add(input(keyChannel, types.ProcessingS3DataTypeS3Prefix, own+"key/"))
	}
}

func plainInput(name string, ch *Channel) types.ProcessingInput {
	i := input(name, types.ProcessingS3DataTypeS3Prefix, ch.S3)
	if ch.DataType != "" {
		i.S3Input.S3DataType = types.ProcessingS3DataType(ch.DataType)
	}
	if ch.Distribution != "" {
		i.S3Input.S3DataDistributionType = types.ProcessingS3DataDistributionType(ch.Distribution)
	}
	if ch.InputMode != "" {
		i.S3Input.S3InputMode = types.ProcessingS3InputMode(ch.InputMode)
	}
	if ch.Compression != "" {
		i.S3Input.S3CompressionType = types.ProcessingS3CompressionType(ch.Compression)
	}
	return i
}

// addOutputs makes SageMaker store the folders that hold what the job sealed.
func (l *Launcher) addOutputs(p *ProcessingPlan) {
	if len(p.job.Outputs) == 0 {
		return
	}
	out := &types.ProcessingOutputConfig{}
	switch key := p.job.OutputKMSKey; {
	case key == none:
	case key != "":
		out.KmsKeyId = &key
	case l.SSEKey != "":
		out.KmsKeyId = &l.SSEKey
	}
	for _, name := range slices.Sorted(maps.Keys(p.job.Outputs)) {
		out.Outputs = append(out.Outputs, types.ProcessingOutput{OutputName: &name, S3Output: &types.ProcessingS3Output{
			S3Uri: aws.String(p.outputURI(name)), LocalPath: aws.String(container.SealedOutput(name)), S3UploadMode: types.ProcessingS3UploadModeEndOfJob}})
	}
	p.Request.ProcessingOutputConfig = out
}

// LaunchProcessing stages what the job needs and creates the job. If that fails,
// LaunchProcessing removes what belongs only to this job.
func (l *Launcher) LaunchProcessing(ctx context.Context, p *ProcessingPlan) (arn string, err error) {
	if err := given.Check(ctx, l.usable() && p != nil && p.Request != nil && l.Processing != nil, errNoPlan); err != nil {
		return "", err
	}
	limit := time.Duration(aws.ToInt32(p.Request.StoppingCondition.MaxRuntimeInSeconds)) * time.Second
	err = l.stage(ctx, &p.staging, limit, func() error {
		arn, err = l.createProcessing(ctx, p)
		return err
	})
	return arn, err
}

func (l *Launcher) createProcessing(ctx context.Context, p *ProcessingPlan) (string, error) {
	name, began := p.Name(), time.Now()
	out, err := l.Processing.CreateProcessingJob(ctx, p.Request)
	if err == nil {
		return aws.ToString(out.ProcessingJobArn), nil
	}
	// As for a training job: the response to a request that succeeded may have been lost.
	if d, derr := l.Processing.DescribeProcessingJob(context.WithoutCancel(ctx), &sagemaker.DescribeProcessingJobInput{ProcessingJobName: &name}); derr == nil &&
		d.AppSpecification != nil && slices.Equal(d.AppSpecification.ContainerArguments, p.Request.AppSpecification.ContainerArguments) &&
		began.Sub(aws.ToTime(d.CreationTime)) < 5*time.Minute {
		return aws.ToString(d.ProcessingJobArn), nil
	}
	return "", explain("CreateProcessingJob", name, err)
}
