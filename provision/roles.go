package provision

import (
	"context"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/vaultpack/vaultpack/provision/policy"
)

// rolePolicy is the name of the inline policy.
const rolePolicy = "vaultpack"

func (p *Provisioner) planRoles(ctx context.Context) ([]Step, error) {
	var steps []Step
	for _, r := range p.roles() {
		more, err := p.planRole(ctx, r)
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
	}
	return steps, nil
}

func (p *Provisioner) planRole(ctx context.Context, r role) ([]Step, error) {
	resource := "the role " + r.name
	out, err := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &r.name})
	exists := err == nil
	if err != nil && !is(err, "NoSuchEntity", "NoSuchEntityException") {
		return nil, Explain(err, "iam:GetRole", resource)
	}
	var steps []Step
	var properties []property
	if !exists {
		steps = append(steps, Step{Resource: resource, Change: "create", To: p.purpose(r), Action: "iam:CreateRole", do: func(ctx context.Context) error {
			text, about := p.trust(r).JSON(), "vaultpack: "+p.purpose(r)
			made, err := p.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &r.name, AssumeRolePolicyDocument: &text, Description: &about, Tags: p.iamTags()})
			if err == nil {
				p.roleARNs[r.name] = aws.ToString(made.Role.Arn)
			}
			return err
		}})
	} else {
		p.roleARNs[r.name] = aws.ToString(out.Role.Arn)
		tags := map[string]string{}
		for _, t := range out.Role.Tags {
			tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		if err := p.ours(resource, tags); err != nil {
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
			read:     func(context.Context) (string, error) { return decoded(out.Role.AssumeRolePolicyDocument) },
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
		read: func(ctx context.Context) (string, error) {
			name := rolePolicy
			out, err := p.iam.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &r.name, PolicyName: &name})
			if is(err, "NoSuchEntity", "NoSuchEntityException") {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			return decoded(out.PolicyDocument)
		},
		want:     func() string { return canonical(p.permissions(r).JSON()) },
		document: true,
		write: func(ctx context.Context) error {
			name, text := rolePolicy, p.permissions(r).JSON()
			_, err := p.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &r.name, PolicyName: &name, PolicyDocument: &text})
			return err
		},
	})
	more, err := p.plan(ctx, resource, exists, properties)
	return append(steps, more...), err
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
	return policy.Trust(fmt.Sprintf("arn:%s:iam::%s:root", p.partition, p.account))
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

// decoded is a policy as IAM gives it: URL-encoded (API reference, GetRole).
func decoded(text *string) (string, error) {
	plain, err := url.PathUnescape(aws.ToString(text))
	if err != nil {
		return "", fmt.Errorf("the policy that IAM gives is not URL-encoded: %w", err)
	}
	return canonical(plain), nil
}
