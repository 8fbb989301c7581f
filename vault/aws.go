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

// S3Options make a client of S3 that reaches the bucket as the vault does.
func (c *Config) S3Options(o *s3.Options) {
	if c.S3.Endpoint != "" {
		o.BaseEndpoint = &c.S3.Endpoint
	}
	custom := o.BaseEndpoint != nil
	o.UsePathStyle = custom
	if c.S3.PathStyle != nil {
		o.UsePathStyle = *c.S3.PathStyle
	}
	if o.Region == "" && custom {
		o.Region = "us-east-1"
	}
}

// SSEKey is the key for server-side encryption: the one that is set for it, else
// the first for data keys; empty where none is asked for.
func (c *Config) SSEKey() string {
	if c.S3.KMSKey != "" || c.S3.SSE == SSENone || len(c.KMSKeys) == 0 {
		return c.S3.KMSKey
	}
	return c.KMSKeys[0].Value
}
