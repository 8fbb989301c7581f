package main

import (
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// makeBucket makes the bucket and the settings that keep it safe. The bucket
// depends on the key, so it is deleted first: S3 refuses to delete a bucket that is
// not empty, and then the key that its objects need stays too.
func (i *infrastructure) makeBucket() error {
	bucket, err := s3.NewBucket(i.ctx, "bucket", &s3.BucketArgs{
		Bucket: pulumi.String(i.target.Bucket),
		Tags:   i.tags(),
	}, append(i.lasting(i.target.Bucket, i.protect), pulumi.DependsOn([]pulumi.Resource{i.key}))...)
	if err != nil {
		return err
	}
	i.bucket = bucket
	name := bucket.Bucket
	// The settings that keep the bucket safe are never removed, not even while it
	// is being deleted: S3 may refuse to delete the bucket, and otherwise they
	// disappear with it.
	guard := i.lasting(i.target.Bucket, true)
	yes := pulumi.Bool(true)
	closed, err := s3.NewBucketPublicAccessBlock(i.ctx, "bucket-public-access", &s3.BucketPublicAccessBlockArgs{
		Bucket: name, BlockPublicAcls: yes, IgnorePublicAcls: yes, BlockPublicPolicy: yes, RestrictPublicBuckets: yes,
	}, guard...)
	if err != nil {
		return err
	}
	if _, err := s3.NewBucketOwnershipControls(i.ctx, "bucket-ownership", &s3.BucketOwnershipControlsArgs{
		Bucket: name,
		Rule:   s3.BucketOwnershipControlsRuleArgs{ObjectOwnership: pulumi.String("BucketOwnerEnforced")},
	}, guard...); err != nil {
		return err
	}
	if _, err := s3.NewBucketPolicy(i.ctx, "bucket-policy", &s3.BucketPolicyArgs{
		Bucket: name,
		Policy: i.key.Arn.ApplyT(func(arn string) string { return i.vault(arn).BucketPolicy().JSON() }).(pulumi.StringOutput),
		// S3 answers two changes of what is public at once with a conflict.
	}, append(guard, pulumi.DependsOn([]pulumi.Resource{closed}))...); err != nil {
		return err
	}
	if _, err := s3.NewBucketServerSideEncryptionConfiguration(i.ctx, "bucket-encryption", &s3.BucketServerSideEncryptionConfigurationArgs{
		Bucket: name,
		Rules: s3.BucketServerSideEncryptionConfigurationRuleArray{s3.BucketServerSideEncryptionConfigurationRuleArgs{
			ApplyServerSideEncryptionByDefault: s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs{
				SseAlgorithm: pulumi.String("aws:kms"), KmsMasterKeyId: i.key.Arn},
			BucketKeyEnabled: yes,
		}},
	}, guard...); err != nil {
		return err
	}
	if _, err := s3.NewBucketVersioning(i.ctx, "bucket-versioning", &s3.BucketVersioningArgs{
		Bucket:                  name,
		VersioningConfiguration: s3.BucketVersioningVersioningConfigurationArgs{Status: pulumi.String("Enabled")},
	}, guard...); err != nil {
		return err
	}
	return i.makeHousekeeping(name)
}

// makeHousekeeping makes the lifecycle rules and access logs.
func (i *infrastructure) makeHousekeeping(name pulumi.StringOutput) error {
	rule := func(id string) s3.BucketLifecycleConfigurationRuleArgs {
		return s3.BucketLifecycleConfigurationRuleArgs{Id: pulumi.String("vaultpack-" + id), Status: pulumi.String("Enabled"),
			Filter: s3.BucketLifecycleConfigurationRuleFilterArgs{Prefix: pulumi.String(i.target.Prefix)}}
	}
	abort := rule("abort-uploads")
	abort.AbortIncompleteMultipartUpload = s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs{
		DaysAfterInitiation: pulumi.Int(int(i.target.AbortDays))}
	rules := s3.BucketLifecycleConfigurationRuleArray{abort}
	if i.target.ExpireDays > 0 {
		old := rule("expire-old-versions")
		old.NoncurrentVersionExpiration = s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs{
			NoncurrentDays: pulumi.Int(int(i.target.ExpireDays))}
		// The delete marker of an object is removed once its versions are gone.
		old.Expiration = s3.BucketLifecycleConfigurationRuleExpirationArgs{ExpiredObjectDeleteMarker: pulumi.Bool(true)}
		rules = append(rules, old)
	}
	_, err := s3.NewBucketLifecycleConfiguration(i.ctx, "bucket-lifecycle", &s3.BucketLifecycleConfigurationArgs{Bucket: name, Rules: rules},
		i.lasting(i.target.Bucket, false)...)
	if err != nil || i.target.LogTo == "" {
		return err
	}
	target, prefix, _ := strings.Cut(strings.TrimPrefix(i.target.LogTo, "s3://"), "/")
	if prefix = strings.TrimSuffix(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	_, err = s3.NewBucketLogging(i.ctx, "bucket-logging", &s3.BucketLoggingArgs{Bucket: name,
		TargetBucket: pulumi.String(target), TargetPrefix: pulumi.String(prefix)}, i.imported(i.target.Bucket)...)
	return err
}
