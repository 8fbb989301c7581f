package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/provision/policy"
)

// A role is one that uploads, reads or trains.
type role struct {
	kind    string // uploader, reader or trainer
	dataset string // a trainer's dataset; "*" for all
	purpose string
	trust   policy.Document
	// own returns the policy, given the key and the key that versions are signed with; the
	// latter is empty if it is not in KMS.
	own func(v policy.Vault, signing string) policy.Document

	made *iam.Role
}

// label returns the name in the stack, which is also the end of the name in AWS.
func (r *role) label() string {
	if r.dataset != "" && r.dataset != "*" {
		return r.kind + "-" + r.dataset
	}
	return r.kind
}

// plan lists the roles: the same as those of vaultpack init, which same_test.go checks.
func (i *infrastructure) plan() []*role {
	t, url := &i.target, i.target.URL()
	assume := policy.Trust(t.Assume...)
	if len(t.Assume) == 0 {
		assume = policy.Trust(fmt.Sprintf("arn:%s:iam::%s:root", i.partition, i.account))
	}
	uploads := "uploads new datasets to " + url + ", and cannot decrypt"
	if t.Resume {
		uploads = "uploads to " + url
	}
	roles := []*role{
		{kind: "uploader", purpose: uploads, trust: assume,
			own: func(v policy.Vault, signing string) policy.Document { return v.Uploader(i.uploader(signing)) }},
		{kind: "reader", purpose: "reads and verifies " + url, trust: assume,
			own: func(v policy.Vault, _ string) policy.Document { return v.Reader(policy.Reader{}) }},
	}
	trainer := func(dataset, purpose string) {
		roles = append(roles, &role{kind: "trainer", dataset: dataset, purpose: purpose, trust: policy.SageMakerTrust(i.account),
			own: func(v policy.Vault, _ string) policy.Document { return v.Trainer(i.trainer(dataset)) }})
	}
	if len(t.Trainers) == 0 {
		trainer("*", "trains on all datasets of "+url)
	}
	for _, d := range t.Trainers {
		trainer(d, "trains on "+url+"/"+d)
	}
	return roles
}

func (i *infrastructure) uploader(signing string) policy.Uploader {
	return policy.Uploader{Resume: i.target.Resume, SigningKey: signing}
}

func (i *infrastructure) trainer(dataset string) policy.Trainer {
	t := policy.Trainer{Outputs: i.target.Outputs, Repositories: i.target.Images, Volumes: !i.target.NoVolumes, VPC: i.target.VPC}
	if dataset != "*" {
		t.Datasets = []string{dataset}
	}
	return t
}

// makeRoles makes the roles without permissions: the key's policy names them, and
// their policies name the key.
func (i *infrastructure) makeRoles() error {
	i.roles = i.plan()
	// The first role goes first: with another name it is refused, and then nothing
	// else is started.
	var after []pulumi.ResourceOption
	for _, r := range i.roles {
		name := shorten(i.target.Name+"-"+r.label(), 64)
		made, err := iam.NewRole(i.ctx, r.label(), &iam.RoleArgs{
			Name:             pulumi.String(name),
			Description:      pulumi.String(provision.RoleDescription(r.purpose)),
			AssumeRolePolicy: pulumi.String(r.trust.JSON()),
			Tags:             i.tags(),
		}, append(i.options(r, name), after...)...)
		if err != nil {
			return err
		}
		r.made = made
		if after == nil {
			after = []pulumi.ResourceOption{pulumi.DependsOn([]pulumi.Resource{made})}
		}
	}
	return nil
}

// options returns the options of a role and its policy. Trainers come and go with datasets.
func (i *infrastructure) options(r *role, id string) []pulumi.ResourceOption {
	if r.kind == "trainer" {
		return i.imported(id)
	}
	return i.lasting(id, false)
}

// inline is the name of the roles' inline policies.
const inline = "vaultpack"

func (i *infrastructure) makeRolePolicies() error {
	for _, r := range i.roles {
		_, err := iam.NewRolePolicy(i.ctx, r.label()+"-policy", &iam.RolePolicyArgs{
			Name: pulumi.String(inline),
			Role: r.made.Name,
			Policy: pulumi.All(i.key.Arn, i.signing).ApplyT(func(arns []any) string {
				return r.own(i.vault(arns[0].(string)), arns[1].(string)).JSON()
			}).(pulumi.StringOutput),
		}, i.options(r, shorten(i.target.Name+"-"+r.label(), 64)+":"+inline)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// shorten truncates a name and appends a hash of the whole, as vaultpack init does.
func shorten(name string, max int) string {
	if len(name) <= max {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:max-9] + "-" + hex.EncodeToString(sum[:4])
}
