package provision

import (
	"context"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/vaultpack/vaultpack/internal/arn"
	"github.com/vaultpack/vaultpack/provision/policy"
)

// rolePolicy is the name of the inline policy.
const rolePolicy = "vaultpack"

// A found role is the current state of a wanted role.
type found struct {
	role
	there  *types.Role // nil if there is none
	policy string      // its inline policy, empty if it has none
}

// planRoles reads several roles at once: there may be one for each dataset.
func (p *Provisioner) planRoles(ctx context.Context) ([]Step, error) {
	var all []*found
	for _, r := range p.roles() {
		all = append(all, &found{role: r})
	}
	if err := p.parallel(len(all), "roles looked at", func(i int) error { return p.lookAt(ctx, all[i]) }); err != nil {
		return nil, err
	}
	missing := 0
	for _, r := range all {
		if r.there == nil {
			missing++
		}
	}
	if err := p.checkQuota(ctx, missing); err != nil {
		return nil, err
	}
	var steps []Step
	for _, r := range all {
		more, err := p.planRole(ctx, r)
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
	}
	return steps, nil
}

func (r *found) resource() string { return "the role " + r.name }

func (p *Provisioner) lookAt(ctx context.Context, r *found) error {
	out, err := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &r.name})
	if is(err, "NoSuchEntity", "NoSuchEntityException") {
		return nil
	}
	if err != nil {
		return Explain(err, "iam:GetRole", r.resource())
	}
	r.there = out.Role
	name := rolePolicy
	own, err := p.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &r.name, PolicyName: &name})
	switch {
	case is(err, "NoSuchEntity", "NoSuchEntityException"):
		return nil
	case err != nil:
		return Explain(err, "iam:GetRolePolicy", r.resource())
	}
	r.policy, err = decoded(own.PolicyDocument)
	return err
}

// createRole creates the role. If it already exists and is tagged as this vault's,
// then the response to an earlier attempt was lost.
func (p *Provisioner) createRole(ctx context.Context, r role) error {
	text, about := p.trust(r).JSON(), RoleDescription(p.purpose(r))
	made, err := p.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &r.name, AssumeRolePolicyDocument: &text, Description: &about, Tags: p.iamTags()})
	if is(err, "EntityAlreadyExists", "EntityAlreadyExistsException") {
		out, gerr := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &r.name})
		if gerr != nil || roleTags(out.Role)[TagKey] != TagValue(p.URL()) {
			return fmt.Errorf("someone else created the role meanwhile; plan again: %w", err)
		}
		p.knowRole(r.name, out.Role)
		return nil
	}
	if err == nil {
		p.knowRole(r.name, made.Role)
	}
	return err
}

func (p *Provisioner) knowRole(name string, r *types.Role) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roleARNs[name] = aws.ToString(r.Arn)
}

func roleTags(r *types.Role) map[string]string {
	tags := map[string]string{}
	for _, t := range r.Tags {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags
}

func (p *Provisioner) planRole(ctx context.Context, f *found) ([]Step, error) {
	r, resource, exists := f.role, f.resource(), f.there != nil
	var steps []Step
	var properties []property
	if !exists {
		steps = append(steps, Step{Resource: resource, Change: "create", To: p.purpose(r), Action: "iam:CreateRole", do: func(ctx context.Context) error { return p.createRole(ctx, r) }})
	} else {
		p.knowRole(r.name, f.there)
		tags := roleTags(f.there)
		if err := p.ours(resource, tags); err != nil {
			return nil, err
		}
		if err := p.checkTags(resource, tags); err != nil {
			return nil, err
		}
		properties = append(properties, property{
			name: "tag", get: "iam:GetRole", put: "iam:TagRole",
			read: func(context.Context) (string, error) { return p.tagText(tags), nil },
			want: func() string { return p.tagText(p.tags()) },
			write: func(ctx context.Context) error {
				_, err := p.iam.TagRole(ctx, &iam.TagRoleInput{RoleName: &r.name, Tags: p.iamTags()})
				return err
			},
		}, property{
			name: "trust", get: "iam:GetRole", put: "iam:UpdateAssumeRolePolicy",
			read:     func(context.Context) (string, error) { return decoded(f.there.AssumeRolePolicyDocument) },
			want:     func() string { return canonical(p.trust(r).JSON()) },
			document: true,
			write: func(ctx context.Context) error {
				text := p.trust(r).JSON()
				_, err := p.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &r.name, PolicyDocument: &text})
				return err
			},
		})
	}
	properties = append(properties, property{
		name: "policy", get: "iam:GetRolePolicy", put: "iam:PutRolePolicy",
		read:     func(context.Context) (string, error) { return f.policy, nil },
		want:     func() string { return canonical(p.permissions(r).JSON()) },
		document: true,
		write: func(ctx context.Context) error {
			name, text := rolePolicy, p.permissions(r).JSON()
			_, err := p.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &r.name, PolicyName: &name, PolicyDocument: &text})
			return err
		},
	})
	more, err := p.plan(ctx, resource, exists, properties)
	steps = append(steps, more...)
	for i := range steps {
		steps[i].role = true
	}
	return steps, err
}

func (p *Provisioner) purpose(r role) string {
	switch {
	case r.kind == "uploader" && p.Resume:
		return "uploads to " + p.URL()
	case r.kind == "uploader":
		return "uploads new datasets to " + p.URL() + ", and cannot decrypt"
	case r.kind == "reader":
		return "reads and verifies " + p.URL()
	case r.dataset == "*":
		return "trains on all datasets of " + p.URL()
	}
	return "trains on " + p.URL() + "/" + r.dataset
}

func (p *Provisioner) trust(r role) policy.Document {
	if r.kind == "trainer" {
		return policy.SageMakerTrust(p.account)
	}
	if len(p.Assume) > 0 {
		return policy.Trust(p.Assume...)
	}
	return policy.Trust(arn.Root(p.partition, p.account))
}

func (p *Provisioner) permissions(r role) policy.Document {
	switch r.kind {
	case "uploader":
		return p.vault().Uploader(p.uploader())
	case "reader":
		return p.vault().Reader(policy.Reader{})
	}
	return p.vault().Trainer(p.trainer(r.dataset))
}

func (p *Provisioner) iamTags() (tags []types.Tag) {
	for k, v := range p.tags() {
		tags = append(tags, types.Tag{Key: &k, Value: &v})
	}
	return tags
}

// decoded decodes a policy as IAM returns it: URL-encoded (API reference, GetRole).
func decoded(text *string) (string, error) {
	plain, err := url.PathUnescape(aws.ToString(text))
	if err != nil {
		return "", fmt.Errorf("the policy that IAM gives is not URL-encoded: %w", err)
	}
	return canonical(plain), nil
}
