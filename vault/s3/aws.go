package s3store

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/internal/awsload"
)

// loadAWS loads the configuration of the SDK according to the settings, with the options
// of own first.
func (set *Settings) loadAWS(ctx context.Context, own ...func(*config.LoadOptions) error) (aws.Config, error) {
	load := awsload.Settings{Region: set.Region, Profile: set.Profile, MFACode: set.MFACode, Options: set.LoadOptions}
	return load.Load(ctx, own...)
}

// Reach sets the client's endpoint from the settings, and reports whether the
// settings or the SDK's configuration name a server other than AWS.
func (set *Settings) Reach(o *s3.Options) (custom bool) {
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
