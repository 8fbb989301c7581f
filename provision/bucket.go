package provision

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/awserr"
)

func (p *Provisioner) bucketResource() string { return "the bucket " + p.Bucket }

// owner returns the account that must own the bucket, so that a bucket of the same
// name that belongs to someone else is never written to. Other servers have no
// accounts.
func (p *Provisioner) owner() *string {
	if p.BucketOnly {
		return nil
	}
	return &p.account
}

func (p *Provisioner) planBucket(ctx context.Context) ([]Step, error) {
	exists, err := p.bucketExists(ctx)
	if err != nil {
		return nil, err
	}
	var steps []Step
	tags := map[string]string{}
	if !exists {
		if err := checkBucket(p.Bucket); err != nil {
			return nil, err
		}
		steps = append(steps, Step{Resource: p.bucketResource(), Change: "create", To: "in " + p.region, Action: "s3:CreateBucket", do: p.createBucket})
	} else {
		if tags, err = p.bucketTags(ctx); err != nil {
			return nil, Explain(err, "s3:GetBucketTagging", p.bucketResource())
		}
		if err := p.ours(p.bucketResource(), tags); err != nil {
			return nil, err
		}
		if err := p.checkTags(p.bucketResource(), tags); err != nil {
			return nil, err
		}
	}
	more, err := p.plan(ctx, p.bucketResource(), exists, p.bucketProperties(tags))
	return append(steps, more...), err
}

func (p *Provisioner) bucketExists(ctx context.Context) (bool, error) {
	_, err := p.s3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
	switch status := awserr.Status(err); {
	case err == nil:
		return true, nil
	case status == http.StatusNotFound:
		return false, nil
	case awserr.BucketRegion(err) != "" && awserr.BucketRegion(err) != p.region:
		return false, fmt.Errorf("the bucket %s is in the Region %s, and not in %s; set region: %[2]s in the section s3 of vaultpack.yaml, or AWS_REGION=%[2]s", p.Bucket, awserr.BucketRegion(err), p.region)
	case status == http.StatusMovedPermanently || is(err, "PermanentRedirect", "AuthorizationHeaderMalformed"):
		return false, fmt.Errorf("the bucket %s is in another Region than %s; set the region in vaultpack.yaml (aws s3api head-bucket --bucket %s tells it)", p.Bucket, p.region, p.Bucket)
	case status == http.StatusForbidden && !p.BucketOnly:
		return false, &DeniedError{Action: "s3:ListBucket", Resource: p.Bucket,
			Err: fmt.Errorf("or the bucket belongs to another account than %s: names are taken all over the world; %w", p.account, err)}
	}
	return false, Explain(err, "s3:ListBucket", p.bucketResource())
}

// createBucket creates the bucket together with its tag, so that it never exists
// without an owner.
func (p *Provisioner) createBucket(ctx context.Context) error {
	in := &s3.CreateBucketInput{Bucket: &p.Bucket, CreateBucketConfiguration: &types.CreateBucketConfiguration{Tags: p.s3Tags()}}
	if p.BucketOnly {
		in.CreateBucketConfiguration.Tags = nil // other servers reject what they do not know
	} else {
		in.ObjectOwnership = types.ObjectOwnershipBucketOwnerEnforced
	}
	if p.region != "us-east-1" {
		in.CreateBucketConfiguration.LocationConstraint = types.BucketLocationConstraint(p.region)
	} else if p.BucketOnly {
		in.CreateBucketConfiguration = nil
	}
	_, err := p.s3.CreateBucket(ctx, in)
	if is(err, "BucketAlreadyOwnedByYou") {
		// Created since the plan, perhaps by this same request, if the first response was lost.
		if tags, terr := p.bucketTags(ctx); terr == nil && tags[TagKey] == TagValue(p.URL()) {
			return nil
		}
		return fmt.Errorf("someone else created the bucket meanwhile; plan again: %w", err)
	}
	if is(err, "BucketAlreadyExists") {
		return fmt.Errorf("the name is taken by another account; choose another: %w", err)
	}
	return err
}

func (p *Provisioner) s3Tags() (tags []types.Tag) {
	for k, v := range p.tags() {
		tags = append(tags, types.Tag{Key: &k, Value: &v})
	}
	return tags
}

func (p *Provisioner) bucketTags(ctx context.Context) (map[string]string, error) {
	tags := map[string]string{}
	out, err := p.s3.GetBucketTagging(ctx, &s3.GetBucketTaggingInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
	if is(err, "NoSuchTagSet", "NoSuchTagSetError") {
		return tags, nil
	}
	if err != nil {
		return nil, err
	}
	for _, t := range out.TagSet {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags, nil
}

// bucketProperties returns the properties of the bucket that are maintained. On a
// server other than AWS these are the ones that vaultpack's own requests rely on.
func (p *Provisioner) bucketProperties(tags map[string]string) []property {
	all := []property{{
		name: "tag", get: "s3:GetBucketTagging", put: "s3:PutBucketTagging",
		read: func(context.Context) (string, error) { return p.tagText(tags), nil },
		want: func() string { return p.tagText(p.tags()) },
		write: func(ctx context.Context) error {
			set := p.s3Tags() // a PUT replaces all
			for k, v := range tags {
				if k != TagKey {
					set = append(set, types.Tag{Key: &k, Value: &v})
				}
			}
			_, err := p.s3.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &p.Bucket, Tagging: &types.Tagging{TagSet: set}, ExpectedBucketOwner: p.owner()})
			return err
		},
	}}
	if !p.BucketOnly {
		all = append(all, p.publicAccess(), p.ownership(), p.bucketPolicy())
	}
	if !p.BucketOnly || p.Key != "" {
		all = append(all, p.encryption())
	}
	all = append(all, p.versioning())
	all = append(all, p.lifecycle())
	if p.LogTo != "" {
		all = append(all, p.logging())
	}
	return all
}

func (p *Provisioner) publicAccess() property {
	const blocked = "all of it blocked"
	return property{
		name: "public access", given: true, get: "s3:GetBucketPublicAccessBlock", put: "s3:PutBucketPublicAccessBlock",
		read: func(ctx context.Context) (string, error) {
			out, err := p.s3.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
			if is(err, "NoSuchPublicAccessBlockConfiguration") {
				return "not blocked", nil
			}
			if err != nil {
				return "", err
			}
			c := out.PublicAccessBlockConfiguration
			if aws.ToBool(c.BlockPublicAcls) && aws.ToBool(c.IgnorePublicAcls) && aws.ToBool(c.BlockPublicPolicy) && aws.ToBool(c.RestrictPublicBuckets) {
				return blocked, nil
			}
			return "blocked in part", nil
		},
		want: func() string { return blocked },
		write: func(ctx context.Context) error {
			yes := true
			_, err := p.s3.PutPublicAccessBlock(ctx, &s3.PutPublicAccessBlockInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner(),
				PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
					BlockPublicAcls: &yes, IgnorePublicAcls: &yes, BlockPublicPolicy: &yes, RestrictPublicBuckets: &yes}})
			return err
		},
	}
}

func (p *Provisioner) ownership() property {
	return property{
		name: "object ownership", given: true, get: "s3:GetBucketOwnershipControls", put: "s3:PutBucketOwnershipControls",
		read: func(ctx context.Context) (string, error) {
			out, err := p.s3.GetBucketOwnershipControls(ctx, &s3.GetBucketOwnershipControlsInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
			if is(err, "OwnershipControlsNotFoundError") {
				return "of the writer", nil
			}
			if err != nil || len(out.OwnershipControls.Rules) == 0 {
				return "", err
			}
			return string(out.OwnershipControls.Rules[0].ObjectOwnership), nil
		},
		want: func() string { return string(types.ObjectOwnershipBucketOwnerEnforced) },
		write: func(ctx context.Context) error {
			_, err := p.s3.PutBucketOwnershipControls(ctx, &s3.PutBucketOwnershipControlsInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner(),
				OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced}}}})
			return err
		},
	}
}

// bucketPolicy keeps other people's statements: they cannot allow what ours deny.
func (p *Provisioner) bucketPolicy() property {
	var old string
	want := func() string { return withOthers(p.vault().BucketPolicy(), old) }
	return property{
		name: "policy", get: "s3:GetBucketPolicy", put: "s3:PutBucketPolicy",
		read: func(ctx context.Context) (string, error) {
			out, err := p.s3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
			if is(err, "NoSuchBucketPolicy") {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			old = aws.ToString(out.Policy)
			if q, err := parse(old); err == nil {
				for _, s := range q.others(p.vault().BucketPolicy()) {
					p.notef("%s: %s of its policy is not vaultpack's and stays as it is", p.bucketResource(), s.called())
				}
			}
			return canonical(old), nil
		},
		want:     func() string { return canonical(want()) },
		document: true,
		limit:    maxBucketPolicy,
		instead:  "shorten or remove statements that are there, or use a bucket of the vault's own",
		write: func(ctx context.Context) error {
			text := want()
			_, err := p.s3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &p.Bucket, Policy: &text, ExpectedBucketOwner: p.owner()})
			return err
		},
	}
}

// bucketKey returns the key of the bucket's default encryption.
func (p *Provisioner) bucketKey() string {
	if p.BucketOnly {
		return p.Key
	}
	return p.vault().KeyARN
}

func (p *Provisioner) encryption() property {
	text := func(algorithm, key string, bucketKey bool) string {
		t := algorithm
		if key != "" {
			t += " with " + key
		}
		if bucketKey {
			t += " and a bucket key"
		}
		return t
	}
	return property{
		name: "default encryption", get: "s3:GetEncryptionConfiguration", put: "s3:PutEncryptionConfiguration",
		read: func(ctx context.Context) (string, error) {
			out, err := p.s3.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
			if is(err, "ServerSideEncryptionConfigurationNotFoundError") {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			for _, r := range out.ServerSideEncryptionConfiguration.Rules {
				if d := r.ApplyServerSideEncryptionByDefault; d != nil {
					key := aws.ToString(d.KMSMasterKeyID)
					if p.BucketOnly { // MinIO turns the name into an ARN, and has no bucket keys
						return text(string(d.SSEAlgorithm), strings.TrimPrefix(key, "arn:aws:kms:"), false), nil
					}
					return text(string(d.SSEAlgorithm), key, aws.ToBool(r.BucketKeyEnabled)), nil
				}
			}
			return "", nil
		},
		show: func(is, want string) (string, string) {
			return is, strings.ReplaceAll(want, p.noKey(), "the key that is made")
		},
		want: func() string {
			key := p.bucketKey()
			if p.BucketOnly {
				key = strings.TrimPrefix(key, "arn:aws:kms:")
			}
			return text(string(types.ServerSideEncryptionAwsKms), key, !p.BucketOnly)
		},
		write: func(ctx context.Context) error {
			key := p.bucketKey()
			rule := types.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{
				SSEAlgorithm: types.ServerSideEncryptionAwsKms, KMSMasterKeyID: &key}}
			if !p.BucketOnly {
				rule.BucketKeyEnabled = aws.Bool(true)
			}
			_, err := p.s3.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner(),
				ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{rule}}})
			return err
		},
	}
}

func (p *Provisioner) versioning() property {
	return property{
		name: "versioning", get: "s3:GetBucketVersioning", put: "s3:PutBucketVersioning",
		read: func(ctx context.Context) (string, error) {
			out, err := p.s3.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
			if err != nil {
				return "", err
			}
			return string(out.Status), nil
		},
		want: func() string { return string(types.BucketVersioningStatusEnabled) },
		write: func(ctx context.Context) error {
			_, err := p.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner(),
				VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
			return err
		},
	}
}

// logging writes access logs to a bucket of the same owner, which must allow S3 to
// write to it (logging.s3.amazonaws.com in its policy).
func (p *Provisioner) logging() property {
	bucket, prefix, _ := splitURL(p.LogTo)
	if prefix != "" {
		prefix += "/"
	}
	return property{
		name: "access logs", get: "s3:GetBucketLogging", put: "s3:PutBucketLogging",
		read: func(ctx context.Context) (string, error) {
			out, err := p.s3.GetBucketLogging(ctx, &s3.GetBucketLoggingInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
			if err != nil || out.LoggingEnabled == nil {
				return "", err
			}
			return "to s3://" + aws.ToString(out.LoggingEnabled.TargetBucket) + "/" + aws.ToString(out.LoggingEnabled.TargetPrefix), nil
		},
		want: func() string { return "to s3://" + bucket + "/" + prefix },
		write: func(ctx context.Context) error {
			_, err := p.s3.PutBucketLogging(ctx, &s3.PutBucketLoggingInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner(),
				BucketLoggingStatus: &types.BucketLoggingStatus{LoggingEnabled: &types.LoggingEnabled{TargetBucket: &bucket, TargetPrefix: &prefix}}})
			return err
		},
	}
}
