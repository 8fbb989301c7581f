package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/internal/printable"
	"github.com/vaultpack/vaultpack/provision"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// tellVault prints the end of an init: the vault exists.
func tellVault(c *cli.Context, con *console, cfg *config.Config, p *provision.Provisioner, t *provision.Target, plan *provision.Plan) error {
	n := len(plan.Steps)
	switch {
	case n == 0 && len(plan.Warnings) > 0:
		con.printf("The vault %s needs no change by init.", t.URL())
	case n == 0:
		con.printf("The vault %s is up to date.", t.URL())
	}
	if n := len(plan.Warnings); n > 0 && c.Bool("check") {
		con.emit("summary", event{"command": "init", "vault": t.URL(), "changes": 0, "applied": false, "outputs": p.Outputs()})
		return &partialError{text: fmt.Sprintf("init would change nothing, but see %s above: the vault is at risk", count(int64(n), "warning")), code: exitFailed}
	}
	if c.Bool("check") || c.Bool("plan") {
		con.emit("summary", event{"command": "init", "vault": t.URL(), "changes": n, "applied": false, "outputs": p.Outputs()})
		return nil
	}
	o := p.Outputs()
	if t.BucketOnly {
		if _, err := writeConfig(con, cfg, p, o); err != nil {
			return err
		}
		return initVault(c.Context, con, cfg)
	}
	con.printf("")
	con.printf("kms_key_id      %s", o.KMSKeyID)
	con.printf("kms_key_arn     %s", o.KMSKeyARN)
	if o.SigningKey != "" {
		con.printf("signing key     %s", o.SigningKey)
	}
	con.printf("s3_bucket_name  %s", o.S3BucketName)
	con.printf("uploader role   %s", o.UploaderRole)
	con.printf("reader role     %s", o.ReaderRole)
	for _, d := range slices.Sorted(maps.Keys(o.TrainerRoles)) {
		of := ""
		if d != "*" {
			of = "   (" + d + ")"
		}
		con.printf("trainer role    %s%s", o.TrainerRoles[d], of)
	}
	file, err := writeConfig(con, cfg, p, o)
	if err != nil {
		return err
	}
	if n > 0 && len(p.Users) == 0 {
		con.printf("\nOnly these roles can use the key; you and administrators cannot. To upload, assume the uploader role:\n"+
			"  aws configure set profile.%[1]s.role_arn %[2]s\n  aws configure set profile.%[1]s.source_profile default\n"+
			"  AWS_PROFILE=%[1]s %[3]s push ./DIR", p.Name+"-uploader", o.UploaderRole, con.program())
	}
	if n > 0 {
		con.printf("\nFor the day that the signing key is lost, give each dataset a second owner once it is there, and keep that key offline:\n  %s\n  %s",
			con.next("keys", "new", "signing", "FILE"), con.next("signers", "add", "--all", "FILE.pub", "--owner"))
	}
	con.emit("summary", event{"command": "init", "vault": t.URL(), "changes": n, "applied": n > 0, "outputs": o, "config": file})
	return nil
}

// writeConfig writes vaultpack.yaml: the one that names the vault, or else the one in the
// working folder or in the nearest folder above it.
func writeConfig(con *console, cfg *config.Config, p *provision.Provisioner, o provision.Outputs) (file string, err error) {
	change := config.Change{Vault: p.URL(), Region: o.Region}
	if chosen := p.Chosen(); !reflect.ValueOf(chosen).IsZero() {
		change.Provision = chosen
	}
	if o.KMSKeyARN != "" {
		change.KMSKeys = []string{o.KMSKeyARN}
	}
	if o.SigningKey != "" && !signsItself(cfg) {
		change.SigningKey = o.SigningKey
	}
	if cfg.S3.SSE == s3store.SSENone {
		change.SSE = s3store.SSENone
	}
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	file = filepath.Join(wd, config.FileName)
	switch {
	case slices.Contains(cfg.Files, cfg.Vault.Source):
		file = cfg.Vault.Source
	case len(cfg.Files) > 0 && strings.HasPrefix(wd+"/", filepath.Dir(cfg.Files[0])+"/"):
		file = cfg.Files[0]
	}
	written, err := config.Write(file, change)
	switch {
	case errors.Is(err, config.ErrOtherVault):
		text, terr := change.Text()
		if terr != nil {
			return "", terr
		}
		con.notef("note: %v, so it is not changed. For this vault, write to another vaultpack.yaml:\n%s", err, printable.Verbatim(text))
		return "", nil
	case err != nil:
		return "", err
	case written:
		con.printf("written         %s", show(file))
	}
	return file, nil
}
