// Package awsload reads the configuration of the AWS SDK: credentials, region and
// endpoints, from the SDK's own chain.
package awsload

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
)

// Settings take precedence over what the SDK itself finds. All may be empty.
type Settings struct {
	Region string
	// Profile is a profile in the AWS configuration files.
	Profile string
	// MFACode asks for the code of an MFA device, for profiles that need one. If it
	// is nil, using such a profile returns an [MFAError].
	MFACode func(ctx context.Context, profile, serial string) (string, error)
	// Options are applied last.
	Options []func(*config.LoadOptions) error
}

// Load reads the configuration with these settings; the options in own are applied
// before those in the settings. The user is asked for the code of an MFA device once
// for all clients.
func (set Settings) Load(ctx context.Context, own ...func(*config.LoadOptions) error) (aws.Config, error) {
	m := &mfa{profile: set.profile(), ask: set.MFACode}
	own = append(slices.Clip(own), config.WithAssumeRoleCredentialOptions(m.options),
		// The SDK would write its warnings to standard error in its own format. Everything
		// that matters is an error as well.
		config.WithLogger(logging.Nop{}))
	debug, err := debugging()
	if err != nil {
		return aws.Config{}, err
	}
	if debug {
		own = append(own, config.WithAPIOptions([]func(*middleware.Stack) error{logRequests(os.Stderr)}))
	}
	if set.Profile != "" {
		own = append(own, config.WithSharedConfigProfile(set.Profile))
	}
	if set.Region != "" {
		own = append(own, config.WithRegion(set.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, append(own, set.Options...)...)
	if err != nil {
		return aws.Config{}, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	cfg.Credentials = m.share(cfg.Credentials)
	return cfg, nil
}

// profile returns the name of the profile in effect.
func (set Settings) profile() string {
	return cmp.Or(set.Profile, os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE"), "default")
}
