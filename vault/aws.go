package vault

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// AWSConfig is the configuration of the AWS SDK for the vault: credentials, region
// and endpoints from the SDK's own chain, by the settings' profile and region.
func AWSConfig(ctx context.Context, c *Config) (aws.Config, error) {
	return c.S3.loadAWS(ctx)
}

// S3Options make a client of S3 that reaches the bucket as the vault does.
func (c *Config) S3Options(o *s3.Options) {
	custom := c.S3.reach(o)
	if o.Region == "" && custom {
		o.Region = "us-east-1"
	}
}

// SSEKey is the KMS key that S3 is to encrypt the vault's objects under, empty
// where no server-side encryption is demanded.
func (c *Config) SSEKey() string {
	switch {
	case c.S3.SSE == SSENone:
		return ""
	case c.S3.KMSKey == "" && len(c.KMSKeys) > 0:
		return c.KMSKeys[0].Value
	}
	return c.S3.KMSKey
}

// loadAWS reads the configuration of the SDK as the settings want it, after own.
// Whoever needs a code from an MFA device is asked once for all clients.
func (set *S3Settings) loadAWS(ctx context.Context, own ...func(*config.LoadOptions) error) (aws.Config, error) {
	m := &mfa{profile: set.profile(), ask: set.MFACode}
	own = append(own, config.WithAssumeRoleCredentialOptions(m.options))
	if set.Profile != "" {
		own = append(own, config.WithSharedConfigProfile(set.Profile))
	}
	if set.Region != "" {
		own = append(own, config.WithRegion(set.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, append(own, set.LoadOptions...)...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	cfg.Credentials = m.share(cfg.Credentials)
	return cfg, nil
}

// reach has a client use the settings' endpoint, and tells whether that, or the
// SDK's configuration, names another server than AWS.
func (set *S3Settings) reach(o *s3.Options) (custom bool) {
	if set.Endpoint != "" {
		o.BaseEndpoint = &set.Endpoint
	}
	custom = o.BaseEndpoint != nil
	o.UsePathStyle = custom
	if set.PathStyle != nil {
		o.UsePathStyle = *set.PathStyle
	}
	return custom
}
