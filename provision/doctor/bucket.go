package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/provision"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// ofBucket skips a check of the bucket's settings if only an access point is known.
func (d *doctor) ofBucket(run func(context.Context) Finding) func(context.Context) Finding {
	return func(ctx context.Context) Finding {
		if strings.Contains(d.loc.Bucket, ":") {
			return skipped("the vault is behind an access point, which does not show its bucket's settings")
		}
		return run(ctx)
	}
}

func (d *doctor) mendInit() string { return "run: vaultpack init --vault " + d.Config.Vault.Value }

// encryption checks what the bucket does with objects that request no encryption.
// vaultpack's own objects request it; the output of training jobs may not.
func (d *doctor) encryption(ctx context.Context) Finding {
	want := d.sseKey
	out, err := d.s3.GetBucketEncryption(ctx, &s3.GetBucketEncryptionInput{Bucket: &d.loc.Bucket, ExpectedBucketOwner: d.owner()})
	if awserr.Code(err) == "ServerSideEncryptionConfigurationNotFoundError" {
		out, err = &s3.GetBucketEncryptionOutput{ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{}}, nil
	}
	if err != nil {
		return unseen(err, "s3:GetEncryptionConfiguration", d.loc.Bucket)
	}
	if d.Config.S3.SSE == s3store.SSENone {
		return skipped("no server-side encryption is demanded (sse: none)")
	}
	for _, r := range out.ServerSideEncryptionConfiguration.Rules {
		def := r.ApplyServerSideEncryptionByDefault
		if def == nil {
			continue
		}
		key := aws.ToString(def.KMSMasterKeyID)
		switch {
		case def.SSEAlgorithm != types.ServerSideEncryptionAwsKms:
			return warning(d.mendInit(), "objects without encryption settings are encrypted with %s, not with the vault's KMS key", def.SSEAlgorithm)
		case key != want && strings.TrimPrefix(key, "arn:aws:kms:") != want:
			return warning(d.mendInit(), "objects without encryption settings are encrypted with the key %q, but the vault's key is %s", key, want)
		case awskms.IsKeyARN(key) && !d.elsewhere && !aws.ToBool(r.BucketKeyEnabled):
			return warning(d.mendInit(), "SSE-KMS with the vault's key, but without a bucket key: each object costs calls to KMS")
		}
		return ok("SSE-KMS with the vault's key")
	}
	return warning(d.mendInit(), "the bucket has no default encryption: objects without encryption settings, such as training output, are not under the vault's key")
}

func (d *doctor) publicAccess(ctx context.Context) Finding {
	fix := "aws s3api put-public-access-block --bucket " + d.loc.Bucket +
		" --public-access-block-configuration BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true"
	out, err := d.s3.GetPublicAccessBlock(ctx, &s3.GetPublicAccessBlockInput{Bucket: &d.loc.Bucket, ExpectedBucketOwner: d.owner()})
	if awserr.Code(err) == "NoSuchPublicAccessBlockConfiguration" {
		return failed(fix, "the bucket can be made public: nothing blocks it")
	}
	if err != nil {
		return unseen(err, "s3:GetBucketPublicAccessBlock", d.loc.Bucket)
	}
	c, open := out.PublicAccessBlockConfiguration, []string(nil)
	for name, on := range map[string]*bool{"BlockPublicAcls": c.BlockPublicAcls, "IgnorePublicAcls": c.IgnorePublicAcls,
		"BlockPublicPolicy": c.BlockPublicPolicy, "RestrictPublicBuckets": c.RestrictPublicBuckets} {
		if !aws.ToBool(on) {
			open = append(open, name)
		}
	}
	if slices.Sort(open); len(open) > 0 {
		return failed(fix, "public access is blocked in part: %s is off", strings.Join(open, ", "))
	}
	return ok("all of it is blocked")
}

// policy checks who has access, and whether what should be denied is.
func (d *doctor) policy(ctx context.Context) Finding {
	out, err := d.s3.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: &d.loc.Bucket, ExpectedBucketOwner: d.owner()})
	text := `{"Statement":[]}`
	switch {
	case err == nil:
		text = aws.ToString(out.Policy)
	case awserr.Code(err) != "NoSuchBucketPolicy":
		return unseen(err, "s3:GetBucketPolicy", d.loc.Bucket)
	}
	statements, err := parsePolicy(text)
	if err != nil {
		return failed("look at it: aws s3api get-bucket-policy --bucket "+d.loc.Bucket, "the policy cannot be read: %v", err)
	}
	tls, sse := false, false
	for i, s := range statements {
		if s.Effect == "Allow" && s.everybody() && len(s.Condition) == 0 {
			name := s.Sid
			if name == "" {
				name = fmt.Sprintf("number %d", i+1)
			}
			return failed("remove the statement, or name its principals", "the statement %s allows everyone", name)
		}
		if s.Effect != "Deny" || !s.everybody() {
			continue
		}
		tls = tls || s.covers("s3:*") && slices.Contains(s.condition("aws:SecureTransport"), "false")
		sse = sse || s.covers("s3:PutObject") && len(s.condition("s3:x-amz-server-side-encryption-aws-kms-key-id")) > 0
	}
	switch {
	case d.elsewhere:
		return ok("it allows nobody without credentials")
	case !tls:
		return warning(d.mendInit(), "requests without TLS are not denied")
	case !sse && d.Config.S3.SSE != s3store.SSENone:
		return warning(d.mendInit(), "objects under another key or algorithm are not denied")
	}
	return ok("it allows no public access, and denies requests without TLS")
}

func (d *doctor) versioning(ctx context.Context) Finding {
	out, err := d.s3.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &d.loc.Bucket, ExpectedBucketOwner: d.owner()})
	if err != nil {
		return unseen(err, "s3:GetBucketVersioning", d.loc.Bucket)
	}
	d.versions = string(out.Status)
	if out.Status != types.BucketVersioningStatusEnabled {
		return warning("aws s3api put-bucket-versioning --bucket "+d.loc.Bucket+" --versioning-configuration Status=Enabled",
			"the bucket keeps no old versions: deleted and replaced objects are lost")
	}
	return ok("the bucket keeps old versions")
}

// lifecycle checks for rules that would destroy a vault, and for the one that saves money.
func (d *doctor) lifecycle(ctx context.Context) Finding {
	out, err := d.s3.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &d.loc.Bucket, ExpectedBucketOwner: d.owner()})
	if awserr.Code(err) == "NoSuchLifecycleConfiguration" {
		out, err = &s3.GetBucketLifecycleConfigurationOutput{}, nil
	}
	if err != nil {
		return unseen(err, "s3:GetLifecycleConfiguration", d.loc.Bucket)
	}
	aborts := false
	for _, r := range out.Rules {
		if threat := provision.RuleThreat(r, d.loc.Prefix); threat != "" {
			return failed("remove the rule, exclude the vault from its prefix, or use GLACIER_IR", "%s", threat)
		}
		prefix, some := provision.RuleScope(r)
		if r.Status != types.ExpirationStatusEnabled {
			continue
		}
		aborts = aborts || r.AbortIncompleteMultipartUpload != nil && !some && strings.HasPrefix(d.loc.Prefix, prefix)
	}
	if !aborts && !d.elsewhere { // other servers accept no such rule, or need none
		return warning(d.mendInit(), "no rule aborts unfinished multipart uploads, and they are billed until they are aborted")
	}
	return ok("no rule deletes or archives what is in the vault")
}

// unfinished counts the multipart uploads that nobody continues.
func (d *doctor) unfinished(ctx context.Context) Finding {
	under := ""
	if d.Dataset != "" {
		under = d.Dataset + "/"
	}
	age := d.inS3.StaleAge()
	n, bytes, err := d.inS3.MeasureStale(ctx, under, age)
	switch {
	case n > 0 && err != nil: // not allowed to list the parts
		return warning("vaultpack gc DATASET aborts them", "%s older than %v exist and are billed; cannot find out their size: %v", plural(n, "unfinished upload"), age, err)
	case err != nil:
		return unseen(err, "s3:ListBucketMultipartUploads", d.loc.Bucket)
	case n > 0:
		return warning("vaultpack gc DATASET aborts them", "%s older than %v hold %s, which are billed and of no use", plural(n, "multipart upload"), age, size(bytes))
	}
	return ok("none older than %v", age)
}
