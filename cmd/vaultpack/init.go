package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

func initCommand(con *console) *cli.Command {
	inAWS := initFlags()
	return &cli.Command{
		Name:      "init",
		Usage:     "create a vault and its key, or check an existing vault",
		ArgsUsage: " ",
		Flags:     inAWS,
		Description: "Without --vault, init creates the default vault, as the first upload does. It never\n" +
			"changes an existing vault.\n\n" +
			"With --vault s3://BUCKET/PREFIX, init creates a KMS key for data and one for signatures,\n" +
			"a bucket, and the roles for uploading, reading and training. It shows a plan and asks for\n" +
			"confirmation. Run it again to find and fix drift, or to continue after an interruption. Your\n" +
			"choices are saved in vaultpack.yaml. init never deletes anything.",
		Action: func(c *cli.Context) error {
			cfg, err := configAlone(c, con)
			if err != nil {
				return err
			}
			if s3store.IsURL(cfg.Vault.Value) {
				return initS3(c, con, cfg)
			}
			for _, f := range inAWS {
				if name := f.Names()[0]; c.IsSet(name) {
					return usagef("--%s is for vaults in S3, and %s (from %s) is a directory", name, cfg.Vault.Value, cfg.Vault.Source)
				}
			}
			return initVault(c.Context, con, cfg)
		},
	}
}

// initFlags are for vaults in S3.
func initFlags() []cli.Flag {
	inAWS := []cli.Flag{
		&cli.BoolFlag{Name: "plan", Usage: "show what would be done, then exit"},
		&cli.BoolFlag{Name: "check", Usage: "report what differs; exit with 1 if anything does"},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask for confirmation"},
		&cli.BoolFlag{Name: "adopt", Usage: "take over an existing key, bucket or role without this vault's tag"},
		&cli.BoolFlag{Name: "destroy", Usage: "print the steps to remove the vault; remove nothing"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the key's alias, and prefix of the role names (default: vaultpack-BUCKET)"},
		&cli.StringSliceFlag{Name: "admin", Usage: "`ARN` that manages the key but cannot use it; can be repeated (default: you)"},
		&cli.StringSliceFlag{Name: "user", Usage: "`ARN` that may use the key for all datasets, or \"me\"; can be repeated"},
		&cli.StringSliceFlag{Name: "assume", Usage: "`ARN` that may assume the uploader and reader roles; can be repeated (default: anyone whom IAM allows to)"},
		&cli.BoolFlag{Name: "resume-uploads", Usage: "let the uploader decrypt data keys. It needs this to continue uploads and to send only changes"},
		&cli.StringFlag{Name: "uploader-signing-key", Usage: "`ARN` of an asymmetric KMS key that the uploader signs versions with, or \"none\"; the uploader then signs with a key of its own (default: init makes one)"},
		&cli.StringSliceFlag{Name: "trainer", Usage: "`DATASET` that gets its own training role; can be repeated (default: one role for all)"},
		&cli.StringSliceFlag{Name: "output", Usage: "s3:// `URL` that training jobs may write to; can be repeated (default: in the vault)"},
		&cli.StringSliceFlag{Name: "image", Usage: "`ARN` of an ECR repository that jobs may pull from; can be repeated (default: all in the Region)"},
		&cli.BoolFlag{Name: "no-volumes", Usage: "do not let SageMaker encrypt job volumes with the key; train then needs --volume-kms-key"},
		&cli.BoolFlag{Name: "vpc", Usage: "allow jobs to run in a VPC"},
		&cli.StringFlag{Name: "access-logs", Usage: "write S3 access logs to `URL` (s3://BUCKET/PREFIX)"},
		&cli.IntFlag{Name: "expire-old-versions", Usage: "delete old versions of objects after `DAYS`", DefaultText: "never"},
		&cli.IntFlag{Name: "abort-uploads", Usage: "abort unfinished multipart uploads after `DAYS`", DefaultText: "7"},
	}
	for _, f := range inAWS {
		switch f := f.(type) {
		case *cli.BoolFlag:
			f.Category = "vaults in S3"
		case *cli.StringFlag:
			f.Category = "vaults in S3"
		case *cli.StringSliceFlag:
			f.Category = "vaults in S3"
		case *cli.IntFlag:
			f.Category = "vaults in S3"
		}
	}
	return inAWS
}

// initVault makes a directory and a local key, or inspects a bucket.
func initVault(ctx context.Context, con *console, cfg *config.Config) error {
	v, made, err := config.Init(ctx, cfg)
	if err != nil {
		return err
	}
	switch {
	case made:
		con.tellNewVault(v)
	case len(cfg.KMSKeys) > 0:
		con.printf("The vault %s and its key %s are ready.", show(v.Location), show(v.Keys.WrapNames[0]))
	default:
		con.printf("The vault %s and its key %s are ready.", show(v.Location), show(cfg.LocalKey.Value))
	}
	if err := con.tellFileSystem(ctx, v); err != nil {
		return err
	}
	con.emit("summary", event{"command": "init", "vault": v.Location, "keys": v.Keys.WrapNames, "created": made})
	return nil
}

// tellFileSystem reports what the file system of the vault cannot guarantee.
func (c *console) tellFileSystem(ctx context.Context, v *vault.Vault) error {
	p, ok := vault.As[vault.Prober](v.Store)
	if !ok {
		return nil
	}
	found, err := p.Abilities(ctx)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		c.notef("note: %s can only be read from here: %v", show(v.Location), err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("trying what the file system of %s can do: %w", show(v.Location), err)
	}
	for _, w := range found.Weaknesses() {
		c.notef("note: %s", w.Says)
	}
	return nil
}
