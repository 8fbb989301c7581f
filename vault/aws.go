package vault

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// AWSConfig reads credentials, region and endpoints through the chain of the AWS
// SDK, with the profile and the region of the vault's settings.
func AWSConfig(ctx context.Context, c *Config) (aws.Config, error) {
	var load []func(*config.LoadOptions) error
	if c.S3.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(c.S3.Profile))
	}
	if c.S3.Region != "" {
		load = append(load, config.WithRegion(c.S3.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, append(load, c.S3.LoadOptions...)...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	return cfg, nil
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
