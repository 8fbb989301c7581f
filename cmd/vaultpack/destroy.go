package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/internal/printable"
	"github.com/vaultpack/vaultpack/provision"
)

// destroySteps prints the steps for removing a vault by hand. It changes nothing
// itself, and names only what exists.
func destroySteps(ctx context.Context, con *console, p *provision.Provisioner) error {
	if err := p.Find(ctx); err != nil {
		return err
	}
	o := p.Outputs()
	var steps []string
	add := func(what, command string, args ...any) {
		steps = append(steps, what+"\n     "+fmt.Sprintf(command, args...))
	}
	if o.KMSKeyARN != "" {
		add("Disable the key and wait for someone to miss the data. You can undo this (enable-key).",
			"aws kms disable-key --key-id %s --region %s", o.KMSKeyARN, o.Region)
	}
	if p.Prefix == "" {
		add("Empty the bucket, with all old versions: in the console, \"Empty\". Or let a lifecycle rule do it.",
			"https://%s/s3/bucket/%s/empty?region=%s", s3Console(o.Region), o.S3BucketName, o.Region)
		add("Remove the bucket.", "aws s3api delete-bucket --bucket %s --region %s", o.S3BucketName, o.Region)
	} else {
		add("Remove the vault's objects. Old versions stay until a lifecycle rule expires them.",
			"aws s3 rm --recursive %s --region %s", quoted("s3://"+o.S3BucketName+"/"+p.Prefix), o.Region)
	}
	if o.KMSKeyARN != "" {
		for _, arn := range append([]string{o.UploaderRole, o.ReaderRole}, slices.Sorted(maps.Values(o.TrainerRoles))...) {
			_, name, _ := strings.Cut(arn, ":role/")
			name = name[strings.LastIndex(name, "/")+1:]
			add("Remove the role "+name+".", "aws iam delete-role-policy --role-name %[1]s --policy-name vaultpack && aws iam delete-role --role-name %[1]s", name)
		}
		add("Schedule the key's deletion in 30 days. After that, NOBODY can read anything encrypted with it, including copies and backups.",
			"aws kms schedule-key-deletion --key-id %s --pending-window-in-days 30 --region %s", o.KMSKeyARN, o.Region)
		if p.SigningKey == "" && o.SigningKey != "" { // an existing key that was configured belongs to someone else
			add("Schedule the deletion of the key that versions were signed with.",
				"aws kms schedule-key-deletion --key-id %s --pending-window-in-days 30 --region %s", o.SigningKey, o.Region)
		}
	}
	con.printf("To remove the vault %s for good, do this, in this order. vaultpack does none of it.\n", p.URL())
	for i, s := range steps {
		con.printf("%2d. %s", i+1, printable.Verbatim(s))
		con.emit("destroy", event{"step": i + 1, "do": s})
	}
	con.emit("summary", event{"command": "init", "vault": p.URL(), "changes": 0, "applied": false, "outputs": o})
	return nil
}

// s3Console returns the host of the S3 console in the Region's partition.
func s3Console(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "console.amazonaws.cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "console.amazonaws-us-gov.com"
	}
	return "s3.console.aws.amazon.com"
}
