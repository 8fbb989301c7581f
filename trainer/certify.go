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

// slack is how much longer than SageMaker says a job's certificate is good: capacity is
// waited for before its time counts, and the model is signed after it has trained.
const slack = 24 * time.Hour

// certifiable finds out whether the job's results can be signed. Who is no signer of the
// dataset may train on it, and is told that nothing will say how the model was made.
func (p *staging) certifiable(ctx context.Context) error {
	if p.job.NoProvenance {
		p.weaken("nothing will tell how the model was made, or that the job was given the data: no_provenance is set")
		return nil
	}
	err := provenance.Check(ctx, p.main().set)
	if errors.Is(err, provenance.ErrNotSigner) {
		p.weaken("nothing will tell how the model was made, or that the job was given the data: %v", err)
		return nil
	}
	p.certify = err == nil
	return err
}

// describeInputs says of the job what it is given, as a statement about what it makes does.
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

// describe says of the request what a statement about the model says.
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

// certificate stores what the job signs with, and the record of what it is given. It returns
// the names of what it has stored, on an error too.
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

// limitsOf is how long a training job may take, as SageMaker says.
func limitsOf(in *sagemaker.CreateTrainingJobInput) time.Duration {
	limits := in.StoppingCondition
	seconds := max(aws.ToInt32(limits.MaxRuntimeInSeconds), aws.ToInt32(limits.MaxWaitTimeInSeconds)) + aws.ToInt32(limits.MaxPendingTimeInSeconds)
	return time.Duration(seconds) * time.Second
}
