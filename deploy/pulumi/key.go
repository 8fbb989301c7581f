package main

import (
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/kms"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/vaultpack/vaultpack/provision/policy"
)

// makeKey makes the key with its policy, so that there is no time at which it has
// KMS's default one, which lets all in the account use it whom IAM allows it.
func (i *infrastructure) makeKey() error {
	arns := make([]any, len(i.roles))
	for n, r := range i.roles {
		arns[n] = r.made.Arn
	}
	text := pulumi.All(arns...).ApplyT(func(arns []any) (string, error) {
		v := i.vault("")
		if err := v.Check(); err != nil {
			return "", err
		}
		return v.KeyPolicy(i.access(arns)).JSON(), nil
	}).(pulumi.StringOutput)
	key, err := kms.NewKey(i.ctx, "key", &kms.KeyArgs{
		Description:       pulumi.String("vaultpack: data keys and objects of " + i.target.URL()),
		EnableKeyRotation: pulumi.Bool(true),
		Policy:            text,
		Tags:              i.tags(),
	}, i.lasting(i.importKey, i.protect)...)
	if err != nil {
		return err
	}
	i.key = key
	alias := "alias/" + i.target.Name
	_, err = kms.NewAlias(i.ctx, "key-alias", &kms.AliasArgs{Name: pulumi.String(alias), TargetKeyId: key.KeyId}, i.lasting(alias, false)...)
	return err
}

// access is who may do what with the key. The ARNs are those of the roles, in order.
func (i *infrastructure) access(arns []any) policy.Access {
	a := policy.Access{Admins: i.target.Admins, Users: i.target.Users, AllTrainers: i.target.TrainerClass(i.partition, i.account)}
	for n, r := range i.roles {
		arn := arns[n].(string)
		switch r.kind {
		case "uploader":
			a.Uploaders = append(a.Uploaders, policy.UploaderAccess{Principal: arn, Uploader: i.uploader()})
		case "reader":
			a.Readers = append(a.Readers, policy.ReaderAccess{Principal: arn})
		default:
			a.Trainers = append(a.Trainers, policy.TrainerAccess{Principal: arn, Trainer: i.trainer(r.dataset)})
		}
	}
	return a
}

// lasting are the options of what is there as long as the vault: Pulumi refuses to
// delete it, or to replace it by one of another name. What is also retained it lets
// go of without deleting it, should somebody take the protection off: with key or
// bucket gone all data is lost.
func (i *infrastructure) lasting(id string, retain bool) []pulumi.ResourceOption {
	return append(i.imported(id), pulumi.Protect(i.protect), pulumi.RetainOnDelete(retain))
}

// imported are the options of what is taken over from vaultpack init, if anything.
func (i *infrastructure) imported(id string) []pulumi.ResourceOption {
	if i.importKey == "" {
		return nil
	}
	return []pulumi.ResourceOption{pulumi.Import(pulumi.ID(id))}
}
