package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/printable"
	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/provision/policy"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

func policyCommand(con *console) *cli.Command {
	return &cli.Command{
		Name:      "policy",
		Usage:     "print the minimal IAM policy for a role",
		ArgsUsage: " ",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "for", Usage: "`ROLE` that the policy is for: uploader, worker, trainer or reader"},
			&cli.StringSliceFlag{Name: "dataset", Aliases: []string{"d"}, Usage: "only for `DATASET`; can be repeated (default: all)"},
			&cli.StringFlag{Name: "source", Usage: "also allow reading what is uploaded from the bucket `URL`; for uploader and worker"},
			&cli.StringFlag{Name: "source-kms-key", Usage: "with --source: `ARN` of the KMS key that its objects are encrypted with"},
			&cli.StringFlag{Name: "format", Value: "json", Usage: "output `FORMAT`: json, pulumi, cloudformation or terraform"},
			&cli.StringFlag{Name: "part", Value: "role", Usage: "`PART` to print: role (its policy), trust (its trust policy), key (its statements in the key policy), signing-key (its statement in the policy of the key that signs versions) or bucket (the bucket policy)"},
			&cli.StringFlag{Name: "principal", Usage: "with --part key: the role's `ARN`; with --part trust: who may assume it"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the policy (default: vaultpack-ROLE)"},
			&cli.StringFlag{Name: "uploader-signing-key", Usage: "`ARN` of an asymmetric KMS key that the uploader may sign versions with"},
			&cli.BoolFlag{Name: "resume-uploads", Usage: "let the uploader decrypt data keys. It needs this to continue uploads and to send only changes"},
		},
		Description: "This needs the vault and the key (--vault, --kms-key or vaultpack.yaml). It calls AWS\n" +
			"only to look up an alias or a key ID. Choices in the provision section of vaultpack.yaml\n" +
			"apply. A key that init created also needs a statement in its key policy: --part key\n" +
			"prints it.",
		Action: func(c *cli.Context) error {
			cfg, err := configAlone(c, con)
			if err != nil {
				return err
			}
			d, err := choosePolicy(c, cfg)
			if errors.Is(err, errAsking) {
				return err
			}
			if err != nil {
				return usageError{err}
			}
			name := c.String("name")
			if name == "" {
				name = "vaultpack-" + c.String("for")
				if ds := c.StringSlice("dataset"); len(ds) > 0 {
					name += "-" + strings.Join(ds, "-")
				}
			}
			format := c.String("format")
			if part := c.String("part"); part != "role" && format != "json" {
				return usagef("--format %s is for the policies of roles; --part %s is printed as json", format, part)
			}
			text, err := d.Format(format, name)
			if err != nil {
				return usagef("%w", err)
			}
			con.emit("policy", event{"for": c.String("for"), "format": format, "text": text})
			con.printf("%s", printable.Verbatim(strings.TrimSuffix(text, "\n")))
			return nil
		},
	}
}

func choosePolicy(c *cli.Context, cfg *config.Config) (policy.Document, error) {
	v, err := policyVault(c.Context, cfg)
	if err != nil {
		return policy.Document{}, err
	}
	if c.String("part") == "bucket" {
		return v.BucketPolicy(), nil
	}
	datasets := c.StringSlice("dataset")
	for _, d := range datasets {
		if err := dataset.CheckName(d); err != nil {
			return policy.Document{}, err
		}
	}
	t := provision.Target{Bucket: v.Bucket, Prefix: v.Prefix}
	if t.Settings, err = provisionSettings(cfg); err != nil {
		return policy.Document{}, err
	}
	if c.IsSet("uploader-signing-key") {
		t.SigningKey = c.String("uploader-signing-key")
	} else if t.SigningKey == "" && isKeyARN(cfg.Signing) && !cfg.OfOtherVault(cfg.Signing.Source) {
		t.SigningKey = cfg.Signing.Value
	}
	if c.IsSet("resume-uploads") {
		t.Resume = c.Bool("resume-uploads")
	}
	d, err := t.RolePolicy(v, c.String("for"), c.String("part"), c.String("principal"), datasets)
	if err != nil {
		return d, err
	}
	return withSource(c, v, d)
}

// withSource adds what reading the bucket that --source names needs.
func withSource(c *cli.Context, v policy.Vault, d policy.Document) (policy.Document, error) {
	role, url := c.String("for"), c.String("source")
	switch {
	case !c.IsSet("source") && c.IsSet("source-kms-key"):
		return d, errors.New("--source-kms-key is the key of the bucket that --source names")
	case !c.IsSet("source"):
		return d, nil
	case c.String("part") != "role" || role != "uploader" && role != "worker":
		return d, errors.New("--source is for the policies of an uploader and of a worker")
	}
	loc, err := s3store.ParseURL(url)
	if err != nil {
		return d, err
	}
	s := policy.Source{Bucket: loc.Bucket, Prefix: loc.Prefix, KeyARN: c.String("source-kms-key")}
	if err := s.Check(); err != nil {
		return d, err
	}
	if role == "worker" {
		return v.WithPlannedSource(d, s), nil
	}
	return v.WithSource(d, s), nil
}

// policyVault returns the configured vault as policies need it.
func policyVault(ctx context.Context, cfg *config.Config) (policy.Vault, error) {
	if !s3store.IsURL(cfg.Vault.Value) {
		return policy.Vault{}, fmt.Errorf("the vault is %s (from %s), but policies are for vaults in S3: set --vault s3://BUCKET/PREFIX", cfg.Vault.Value, cfg.Vault.Source)
	}
	loc, err := s3store.ParseURL(cfg.Vault.Value)
	if err != nil {
		return policy.Vault{}, err
	}
	if !slices.ContainsFunc(cfg.KMSKeys, isKeyARN) && len(cfg.KMSKeys) > 0 {
		if cfg, err = cfg.Resolved(ctx); err != nil {
			return policy.Vault{}, fmt.Errorf("%w: %w", errAsking, err)
		}
	}
	i := slices.IndexFunc(cfg.KMSKeys, isKeyARN)
	if i < 0 {
		return policy.Vault{}, fmt.Errorf("the KMS key is not known: set --kms-key, or kms_keys in %s", config.FileName)
	}
	v := policy.Vault{Bucket: loc.Bucket, Prefix: loc.Prefix, KeyARN: cfg.KMSKeys[i].Value}
	return v, v.Check()
}

// errAsking marks a failed request to AWS, as opposed to wrong usage.
var errAsking = errors.New("policies name the key by its ARN")

func isKeyARN(s config.Setting) bool { return awskms.IsKeyARN(s.Value) }
