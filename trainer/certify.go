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

	"github.com/vaultpack/vaultpack/trainer/provenance"
	"github.com/vaultpack/vaultpack/vault"
)

// slack is how much longer than the job's time limit its certificate is valid: the job
// may wait for capacity before its time starts, and it signs the model after training.
const slack = 24 * time.Hour

// certifiable determines whether the job's results can be signed. A user who is not a
// signer of the dataset may train on it, and is warned that nothing will show how the
// model was made.
func (p *staging) certifiable(ctx context.Context) error {
	if p.job.NoProvenance {
		p.weaken("there will be no record of how the model was made, or that the job was given the data: no_provenance is set")
		return nil
	}
	err := provenance.Check(ctx, p.main().set)
	if errors.Is(err, provenance.ErrNotSigner) {
		p.weaken("there will be no record of how the model was made, or that the job was given the data: %v", err)
		return nil
	}
	p.certify = err == nil
	return err
}

// describeInputs describes the job's inputs as in a statement about its results.
func (p *staging) describeInputs() {
	r := &p.run
	for _, s := range append([]*Sealed{p.main()}, slices.DeleteFunc(slices.Clone(p.Sealed), func(s *Sealed) bool { return s == p.main() })...) {
		r.Inputs = append(r.Inputs, provenance.Input{Channel: s.Channel, Dataset: s.set.Name, Version: s.Version.Number, Digest: s.Version.Digest()})
	}
	for name, ch := range p.job.Channels {
		if ch.Dataset == "" {
			if r.Plain == nil {
				r.Plain = map[string]string{}
			}
			r.Plain[name] = ch.S3
		}
	}
	r.Program = p.Binary.SHA256
}

// describe describes the request as in a statement about the model.
func (p *Plan) describe() {
	p.describeInputs()
	in, r := p.Request, &p.run
	r.Hyperparameters = maps.Clone(in.HyperParameters)
	for _, g := range in.ResourceConfig.InstanceGroups {
		r.Instances = append(r.Instances, fmt.Sprintf("%s:%d", g.InstanceType, aws.ToInt32(g.InstanceCount)))
	}
	if len(r.Instances) == 0 {
		r.Instances = []string{fmt.Sprintf("%s:%d", in.ResourceConfig.InstanceType, aws.ToInt32(in.ResourceConfig.InstanceCount))}
	}
	r.Output = aws.ToString(in.OutputDataConfig.S3OutputPath) + "/" + p.Name() + "/output/"
}

// certificate stores the certificate that the job signs with, and the record of its inputs.
// It returns the names of the objects that it stored, even with an error.
func (p *staging) certificate(ctx context.Context, v *vault.Vault, limit time.Duration) (stored []string, err error) {
	if !p.certify {
		return nil, nil
	}
	cert, err := provenance.Certify(ctx, p.main().set, p.run, time.Now().Add(limit+slack))
	if err != nil {
		return nil, err
	}
	defer cert.Wipe()
	if stored, err = cert.Record(ctx, v); err != nil {
		return stored, err
	}
	name, err := cert.Seal(ctx, p.main().Version)
	return append(stored, name), err
}

// limitsOf returns how long a training job may take, according to its SageMaker limits.
func limitsOf(in *sagemaker.CreateTrainingJobInput) time.Duration {
	limits := in.StoppingCondition
	seconds := max(aws.ToInt32(limits.MaxRuntimeInSeconds), aws.ToInt32(limits.MaxWaitTimeInSeconds)) + aws.ToInt32(limits.MaxPendingTimeInSeconds)
	return time.Duration(seconds) * time.Second
}
