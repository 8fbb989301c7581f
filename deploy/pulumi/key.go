package main

import (
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/kms"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/vaultpack/vaultpack/provision"
	"github.com/vaultpack/vaultpack/provision/policy"
)

// makeKey makes the key with its policy, so that it never has KMS's default one,
// which admits everyone in the account whom IAM allows to use it.
func (i *infrastructure) makeKey() error {
	text := pulumi.All(i.roleARNs()...).ApplyT(func(arns []any) (string, error) {
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
	return i.makeAlias("key", key, "alias/"+i.target.Name)
}

func (i *infrastructure) makeAlias(of string, key *kms.Key, alias string) error {
	_, err := kms.NewAlias(i.ctx, of+"-alias", &kms.AliasArgs{Name: pulumi.String(alias), TargetKeyId: key.KeyId}, i.lasting(alias, false)...)
	return err
}

// makeSigningKey makes the key that versions are signed with, unless another key, or none,
// is configured.
func (i *infrastructure) makeSigningKey() error {
	if i.target.SigningKey != "" {
		if i.target.SigningKey != provision.NoKey {
			i.signing = pulumi.String(i.target.SigningKey).ToStringOutput()
		}
		return nil
	}
	text := pulumi.All(i.roleARNs()...).ApplyT(func(arns []any) string {
		return i.vault("").SigningKeyPolicy(i.access(arns)).JSON()
	}).(pulumi.StringOutput)
	key, err := kms.NewKey(i.ctx, "signing-key", &kms.KeyArgs{
		Description:           pulumi.String("vaultpack: signatures of versions in " + i.target.URL()),
		CustomerMasterKeySpec: pulumi.String("ECC_NIST_P256"),
		KeyUsage:              pulumi.String("SIGN_VERIFY"),
		Policy:                text,
		Tags:                  i.tags(),
	}, i.lasting(i.importSigningKey, i.protect)...)
	if err != nil {
		return err
	}
	i.signing = key.Arn
	return i.makeAlias("signing-key", key, "alias/"+i.target.Name+"-signing")
}

// roleARNs are the ARNs of the roles, in order, once they are made.
func (i *infrastructure) roleARNs() []any {
	arns := make([]any, len(i.roles))
	for n, r := range i.roles {
		arns[n] = r.made.Arn
	}
	return arns
}

// access returns who may do what with the key. The ARNs are those of the roles, in order.
func (i *infrastructure) access(arns []any) policy.Access {
	a := policy.Access{Admins: i.target.Admins, Users: i.target.Users, AllTrainers: i.target.TrainerClass(i.partition, i.account)}
	for n, r := range i.roles {
		arn := arns[n].(string)
		switch r.kind {
		case "uploader":
			a.Uploaders = append(a.Uploaders, policy.UploaderAccess{Principal: arn, Uploader: i.uploader("")})
		case "reader":
			a.Readers = append(a.Readers, policy.ReaderAccess{Principal: arn})
		default:
			a.Trainers = append(a.Trainers, policy.TrainerAccess{Principal: arn, Trainer: i.trainer(r.dataset)})
		}
	}
	return a
}

// lasting returns the options of resources that exist as long as the vault: Pulumi
// refuses to delete them, or to replace them with one of another name. If somebody
// removes the protection, Pulumi forgets those that are also retained, without
// deleting them: without key or bucket all data is lost.
func (i *infrastructure) lasting(id string, retain bool) []pulumi.ResourceOption {
	return append(i.imported(id), pulumi.Protect(i.protect), pulumi.RetainOnDelete(retain))
}

// imported returns the options for a resource taken over from vaultpack init, if any.
func (i *infrastructure) imported(id string) []pulumi.ResourceOption {
	if i.importKey == "" {
		return nil
	}
	return []pulumi.ResourceOption{pulumi.Import(pulumi.ID(id))}
}
