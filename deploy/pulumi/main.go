// Command pulumi is a Pulumi program that makes what a vault in AWS needs: a KMS
// key, a bucket that encrypts with it, the roles that upload, train and read, and
// VPC endpoints if requested. It makes the same as vaultpack init, down to names,
// tags and policies, so that each can take over from the other; docs/PULUMI.md says
// how. Settings are in the stack's config, named as in the section provision of
// vaultpack.yaml.
//
// It does not train: a training job runs once and is not a resource. vaultpack
// train launches it, with the role made here.
package main

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws"
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/kms"
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/provision/policy"
)

func main() { pulumi.Run(run) }

func run(ctx *pulumi.Context) error {
	outputs, err := build(ctx)
	if err != nil {
		return err
	}
	for name, value := range outputs {
		ctx.Export(name, value)
	}
	return nil
}

// build registers the resources in the order of their dependencies: the
// key's policy names the roles, and their policies name the key.
func build(ctx *pulumi.Context) (outputs pulumi.Map, err error) {
	s, err := readSettings(ctx)
	if err != nil {
		return nil, err
	}
	in, err := locate(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.check(in); err != nil {
		return nil, err
	}
	if !in.among(s.target.Admins) {
		text := fmt.Sprintf("%s is not among %s:admins: KMS will not let it make the key or change its policy", in.caller, s.project)
		if err := ctx.Log.Warn(text, nil); err != nil {
			return nil, err
		}
	}
	i := &infrastructure{settings: s, place: in, ctx: ctx, signing: pulumi.String("").ToStringOutput()}
	for _, part := range []func() error{i.makeRoles, i.makeKey, i.makeSigningKey, i.makeRolePolicies, i.makeBucket, i.makeEndpoints} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return i.outputs(), nil
}

// A place is where in AWS the vault is made, and by whom.
type place struct {
	partition, region, account string
	caller                     string // an ARN, of a session where it is a role's
}

// locate asks STS (GetCallerIdentity, which needs no permission) and the provider.
func locate(ctx *pulumi.Context) (place, error) {
	id, err := aws.GetCallerIdentity(ctx, nil)
	if err != nil {
		return place{}, fmt.Errorf("finding out who calls AWS: %w", err)
	}
	region, err := aws.GetRegion(ctx, nil)
	if err != nil {
		return place{}, fmt.Errorf("finding the region (config aws:region): %w", err)
	}
	p := place{region: region.Region, account: id.AccountId, caller: id.Arn}
	if f := strings.Split(id.Arn, ":"); len(f) >= 6 {
		p.partition = f[1]
	}
	return p, nil
}

// vault describes the vault for its policies. keyARN is empty if the key has not
// been made yet; policies of the key itself do not name it.
func (i *infrastructure) vault(keyARN string) policy.Vault {
	if keyARN == "" {
		keyARN = fmt.Sprintf("arn:%s:kms:%s:%s:key/to-be-made", i.partition, i.region, i.account)
	}
	return policy.Vault{Bucket: i.target.Bucket, Prefix: i.target.Prefix, KeyARN: keyARN}
}

// An infrastructure holds the registered resources.
type infrastructure struct {
	*settings
	place
	ctx *pulumi.Context

	roles []*role
	key   *kms.Key
	// signing is the ARN of the key that versions are signed with, or empty if that is not in
	// KMS.
	signing pulumi.StringOutput
	bucket  *s3.Bucket
}

// tags say which vault the resources belong to; vaultpack init recognizes its own by them.
func (i *infrastructure) tags() pulumi.StringMap {
	return pulumi.StringMap{provision.TagKey: pulumi.String(provision.TagValue(i.target.URL()))}
}

// outputs are what other tools need, with the names used by vaultpack init --json.
func (i *infrastructure) outputs() pulumi.Map {
	out, trainers := pulumi.Map{}, pulumi.Map{}
	for _, r := range i.roles {
		if r.kind == "trainer" {
			trainers[r.dataset] = r.made.Arn
			continue
		}
		out[r.kind+"_role_arn"] = r.made.Arn
	}
	out["trainer_role_arns"] = trainers // by dataset, "*" for all
	out["kms_key_id"] = i.key.KeyId
	out["kms_key_arn"] = i.key.Arn
	if i.target.SigningKey != provision.NoKey {
		out["signing_key_arn"] = i.signing
	}
	out["s3_bucket_name"] = i.bucket.Bucket
	out["region"] = pulumi.String(i.region)
	// The file that vaultpack init would have written.
	out["vaultpack_yaml"] = pulumi.All(i.key.Arn, i.signing).ApplyT(func(arns []any) (string, error) {
		return config.Change{Vault: i.target.URL(), KMSKeys: []string{arns[0].(string)}, SigningKey: arns[1].(string), Region: i.region, Provision: i.chosen}.Text()
	})
	if i.vpc != nil {
		out["subnets"] = pulumi.ToStringArray(i.vpc.Subnets)
		out["security_groups"] = pulumi.ToStringArray(i.vpc.SecurityGroups)
	}
	return out
}
