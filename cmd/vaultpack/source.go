package main

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// bucketFlags say how to reach the bucket that data is uploaded from.
func bucketFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "source-profile", Usage: "with a source in S3: reach it with the AWS `PROFILE`"},
		&cli.StringFlag{Name: "source-endpoint", Usage: "with a source in S3: `URL` of its server, if it is not AWS"},
		&cli.StringFlag{Name: "source-region", Usage: "with a source in S3: its `REGION`"},
		&cli.StringFlag{Name: "source-pin", Usage: "with a source in S3: `HOW` to recognize objects: version or etag (default: version, if the bucket keeps versions)"},
	}
}

// checkBucketFlags returns an error for flags that do not belong to the source.
func checkBucketFlags(c *cli.Context, path string) error {
	if !s3store.IsURL(path) {
		for _, f := range bucketFlags() {
			if name := f.Names()[0]; c.IsSet(name) {
				return usagef("--%s is for a source in S3, such as s3://bucket/prefix", name)
			}
		}
		return nil
	}
	if c.IsSet("links") {
		return usagef("--links is for folders; a bucket has no links")
	}
	if _, err := s3store.ParseURL(path); err != nil {
		return usageError{err}
	}
	if _, err := s3store.ParseVersions(c.String("source-pin")); err != nil {
		return usagef("--source-pin: %w", err)
	}
	return nil
}

// openSource opens a bucket as a source, and tells how it is reached.
func openSource(c *cli.Context, con *console, url string) (*s3store.Source, error) {
	cfg, err := loadConfig(c, con)
	if err != nil {
		return nil, err
	}
	b, err := config.OpenSource(c.Context, cfg, url)
	if err != nil {
		return nil, usageError{err}
	}
	con.notef("source   %s at %s, with the credentials of %s", show(b.String()), show(b.Server()), show(b.Credentials(c.Context)))
	return b, nil
}

// addSource adds the bucket of a source, and the requests to it, to a summary.
func addSource(e event, path string, r vault.Requests) {
	if s3store.IsURL(path) {
		e["source"], e["source_s3"] = path, r
	}
}

// tellSource tells the requests to the bucket of a source.
func (c *console) tellSource(path string, r vault.Requests) {
	if s3store.IsURL(path) {
		c.printf("source   %s PUT and LIST, %s GET and HEAD; %s received, from %s", number(r.Puts+r.Lists), number(r.Gets), size(r.BytesReceived), show(path))
	}
}

// bucketOpener returns how workers open the bucket of their plan.
func bucketOpener(c *cli.Context, con *console) func(context.Context, string) (uploader.Bucket, error) {
	return func(_ context.Context, url string) (uploader.Bucket, error) {
		b, err := openSource(c, con, url)
		if err != nil {
			return nil, err
		}
		return b, nil
	}
}

// bucketName returns the last name of the URL of a bucket.
func bucketName(url string) string {
	loc, err := s3store.ParseURL(url)
	if err != nil {
		return ""
	}
	if loc.Prefix == "" {
		return loc.Bucket
	}
	prefix := strings.TrimSuffix(loc.Prefix, "/")
	return prefix[strings.LastIndexByte(prefix, '/')+1:]
}
