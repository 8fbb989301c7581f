package config

import (
	"context"
	"fmt"
	"time"

	"github.com/vaultpack/vaultpack/internal/given"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// SourceSettings say how to reach the bucket that data is uploaded from: the section source of the
// file. They mean the same as in s3store.Settings.
type SourceSettings struct {
	Endpoint      string        `yaml:"endpoint"`
	Region        string        `yaml:"region"`
	Profile       string        `yaml:"profile"`
	PathStyle     *bool         `yaml:"path_style"`
	RequesterPays bool          `yaml:"requester_pays"`
	BucketOwner   string        `yaml:"bucket_owner"`
	Attempts      int           `yaml:"attempts"`
	MaxBackoff    time.Duration `yaml:"max_backoff"`
	StallTimeout  time.Duration `yaml:"stall_timeout"`
	// Pin is auto, version or etag: see [s3store.Versions].
	Pin string `yaml:"pin"`
}

// sourceFlags are the flags of a source. Their environment variables begin with VAULTPACK_.
var sourceFlags = map[string]func(*SourceSettings) *string{
	"source-endpoint": func(s *SourceSettings) *string { return &s.Endpoint },
	"source-region":   func(s *SourceSettings) *string { return &s.Region },
	"source-profile":  func(s *SourceSettings) *string { return &s.Profile },
	"source-pin":      func(s *SourceSettings) *string { return &s.Pin },
}

// OpenSource opens the bucket that the URL names as the source of an upload. If the settings
// say nothing of how to reach a source, it is reached as a vault in S3 is; if they say
// something, nothing of that is used.
func OpenSource(ctx context.Context, c *Config, url string) (*s3store.Source, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, err
	}
	which, err := s3store.ParseVersions(c.Source.Pin)
	if err != nil {
		return nil, fmt.Errorf("how objects of the source are pinned (--source-pin, or pin in the section source): %w", err)
	}
	set := c.S3
	set.BucketOwner, set.RequesterPays = "", false // of the vault
	if own := c.Source; own.reaches() {
		set = s3store.Settings{Endpoint: own.Endpoint, Region: own.Region, Profile: own.Profile, PathStyle: own.PathStyle,
			MFACode: c.S3.MFACode, LoadOptions: c.S3.LoadOptions}
	}
	set.RequesterPays, set.BucketOwner = c.Source.RequesterPays, c.Source.BucketOwner
	set.Attempts, set.MaxBackoff, set.StallTimeout = c.Source.Attempts, c.Source.MaxBackoff, c.Source.StallTimeout
	return s3store.OpenSource(ctx, url, set, which)
}

// reaches reports whether the settings say how to reach a source.
func (s SourceSettings) reaches() bool {
	return s.Endpoint != "" || s.Region != "" || s.Profile != "" || s.PathStyle != nil
}
