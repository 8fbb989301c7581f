package config

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/internal/awsload"
	"github.com/vaultpack/vaultpack/internal/given"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// AWS returns the configuration of the AWS SDK for the vault: credentials,
// region and endpoints from the SDK's own chain, with the profile and region
// of the settings.
func (c *Config) AWS(ctx context.Context) (aws.Config, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return aws.Config{}, err
	}
	return c.aws().Load(ctx)
}

// aws returns the settings for reaching AWS.
func (c *Config) aws() awsload.Settings {
	return awsload.Settings{Region: c.S3.Region, Profile: c.S3.Profile, MFACode: c.S3.MFACode, Options: c.S3.LoadOptions}
}

// S3Options sets the options of an S3 client so that it reaches the bucket as the
// vault does.
func (c *Config) S3Options(o *s3.Options) {
	custom := c.S3.Reach(o)
	if o.Region == "" && custom {
		o.Region = "us-east-1"
	}
}

// SSEKey returns the KMS key under which S3 must encrypt the vault's objects,
// or "" if no server-side encryption is required.
func (c *Config) SSEKey() string {
	switch {
	case c.S3.SSE == s3store.SSENone:
		return ""
	case c.S3.KMSKey == "" && len(c.KMSKeys) > 0:
		return c.KMSKeys[0].Value
	}
	return c.S3.KMSKey
}

// An MFAError reports that a profile requires a code from an MFA device, and that
// the user could not be asked for it. It wraps fs.ErrPermission.
type MFAError = awsload.MFAError
