package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/provision/policy"
)

// A managedKey is one of the KMS keys of a vault: the one for data keys and objects, or
// the one that versions are signed with.
type managedKey struct {
	alias, description string
	kind               string // its kind, for people: symmetric
	unfit              string // what a key of another kind cannot do
	configured         string // the ARN or alias of an existing key to use; empty to create one
	spec               types.KeySpec
	usage              types.KeyUsageType
	// arn is empty until the key is known or made.
	arn string
}

// describeKeys describes what both keys should be.
func (p *Provisioner) describeKeys() {
	p.key = managedKey{
		alias: "alias/" + p.Name, description: "vaultpack: data keys and objects of " + p.URL(), configured: p.Key,
		kind: "symmetric", unfit: "wrap data keys", spec: types.KeySpecSymmetricDefault, usage: types.KeyUsageTypeEncryptDecrypt,
	}
	p.signing = managedKey{
		alias: "alias/" + p.Name + "-signing", description: "vaultpack: signatures of versions in " + p.URL(),
		kind: "asymmetric, to sign versions of " + p.URL(), unfit: "sign versions", spec: types.KeySpecEccNistP256, usage: types.KeyUsageTypeSignVerify,
	}
}

func (k *managedKey) signs() bool { return k.usage == types.KeyUsageTypeSignVerify }

func (k *managedKey) resource() string {
	name := k.arn
	if name == "" {
		name = k.alias
	}
	if k.signs() {
		return "the signing key " + name
	}
	return "the KMS key " + name
}

// planKey plans a key except for its policy, which names the roles.
func (p *Provisioner) planKey(ctx context.Context, k *managedKey) ([]Step, error) {
	key, err := p.findKey(ctx, k)
	if err != nil {
		return nil, err
	}
	var steps []Step
	var tags map[string]string
	k.arn = ""
	if key == nil {
		to := k.kind
		if k == &p.key {
			to += ", for " + p.URL()
		}
		steps = append(steps, Step{Resource: k.resource(), Change: "create", To: to, Action: "kms:CreateKey",
			do: func(ctx context.Context) error { return p.createKey(ctx, k) }})
	} else {
		k.arn = aws.ToString(key.Arn)
		if tags, err = p.keyTags(ctx, k.arn); err != nil {
			return nil, Explain(err, "kms:ListResourceTags", k.resource())
		}
		if err := k.usable(key); err != nil {
			return nil, err
		}
		if err := p.ours(k.resource(), tags); err != nil {
			return nil, err
		}
		if err := p.checkTags(k.resource(), tags); err != nil {
			return nil, err
		}
		if err := p.lookAtGrants(ctx, k); err != nil {
			return nil, err
		}
	}
	properties := []property{p.aliasProperty(k)}
	if !k.signs() { // KMS does not rotate asymmetric keys
		properties = append(properties, p.rotationProperty(k))
	}
	if key != nil { // a new key is created with these
		properties = append(properties, p.tagProperty(k, tags), p.descriptionProperty(k, key))
	}
	more, err := p.plan(ctx, k.resource(), key != nil, properties)
	return append(steps, more...), err
}

func (p *Provisioner) aliasProperty(k *managedKey) property {
	return property{
		name: "alias", get: "kms:DescribeKey", put: "kms:CreateAlias",
		read: func(ctx context.Context) (string, error) {
			found, err := p.describe(ctx, k.alias)
			if found == nil || err != nil {
				return "", err
			}
			if arn := aws.ToString(found.Arn); arn != k.arn {
				// It was moved away from our key, or belongs to another vault.
				theirs, err := p.keyTags(ctx, arn)
				var denied *DeniedError
				if err = Explain(err, "kms:ListResourceTags", arn); err != nil && !errors.As(err, &denied) {
					return "", err
				}
				if theirs[TagKey] != "" {
					if err := p.ours("the alias "+k.alias+" of "+arn, theirs); err != nil {
						return "", err
					}
				}
				return k.alias + " of " + arn, nil
			}
			return k.alias, nil
		},
		want:  func() string { return k.alias },
		write: func(ctx context.Context) error { return p.writeAlias(ctx, k) },
	}
}

func (p *Provisioner) rotationProperty(k *managedKey) property {
	rotation := "" // as it is
	return property{
		name: "rotation", get: "kms:GetKeyRotationStatus", put: "kms:EnableKeyRotation",
		read: func(ctx context.Context) (string, error) {
			out, err := p.kms.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &k.arn})
			if err != nil {
				return "", err
			}
			switch days := aws.ToInt32(out.RotationPeriodInDays); {
			case !out.KeyRotationEnabled:
				return "off", nil
			case days == 0:
				rotation = "on"
			default:
				rotation = fmt.Sprintf("every %d days", days)
			}
			return rotation, nil
		},
		want: func() string { return cmp.Or(rotation, "every year") }, // any period is as good
		write: func(ctx context.Context) error {
			_, err := p.kms.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &k.arn})
			return err
		},
	}
}

func (p *Provisioner) tagProperty(k *managedKey, tags map[string]string) property {
	return property{
		name: "tag", get: "kms:ListResourceTags", put: "kms:TagResource",
		read: func(context.Context) (string, error) { return p.tagText(tags), nil },
		want: func() string { return p.tagText(p.tags()) },
		write: func(ctx context.Context) error {
			_, err := p.kms.TagResource(ctx, &kms.TagResourceInput{KeyId: &k.arn, Tags: p.kmsTags()})
			return err
		},
	}
}

func (p *Provisioner) descriptionProperty(k *managedKey, key *types.KeyMetadata) property {
	return property{
		name: "description", get: "kms:DescribeKey", put: "kms:UpdateKeyDescription",
		read: func(context.Context) (string, error) { return aws.ToString(key.Description), nil },
		want: func() string { return k.description },
		write: func(ctx context.Context) error {
			_, err := p.kms.UpdateKeyDescription(ctx, &kms.UpdateKeyDescriptionInput{KeyId: &k.arn, Description: &k.description})
			return err
		},
	}
}

// usable rejects keys that vaultpack cannot use, and those that somebody has
// deliberately disabled.
func (k *managedKey) usable(is *types.KeyMetadata) error {
	arn := aws.ToString(is.Arn)
	lost := "all data of the vault is lost with it"
	if k.signs() {
		lost = "nobody can sign versions with it"
	}
	switch {
	case is.KeyManager == types.KeyManagerTypeAws:
		return fmt.Errorf("%s is a key of AWS's own, whose policy cannot be changed; leave kms_keys out, and init makes one", arn)
	case is.KeySpec != k.spec || is.KeyUsage != k.usage:
		return fmt.Errorf("%s cannot %s: its spec is %s and its usage %s", arn, k.unfit, is.KeySpec, is.KeyUsage)
	case is.KeyState == types.KeyStatePendingDeletion:
		return fmt.Errorf("%s will be deleted on %s, and %s; to keep it: aws kms cancel-key-deletion --key-id %s",
			arn, aws.ToTime(is.DeletionDate).Format(time.DateOnly), lost, arn)
	case is.KeyState == types.KeyStateDisabled:
		return fmt.Errorf("%s is disabled, which someone did on purpose; to undo that: aws kms enable-key --key-id %s", arn, arn)
	}
	return nil
}

func (p *Provisioner) kmsTags() (tags []types.Tag) {
	for k, v := range p.tags() {
		tags = append(tags, types.Tag{TagKey: &k, TagValue: &v})
	}
	return tags
}

// createKey makes the key with a policy that lets the admins continue, but nobody use
// it: the roles do not exist yet.
func (p *Provisioner) createKey(ctx context.Context, k *managedKey) error {
	text := policy.FirstKeyPolicy(p.partition, p.account, p.Admins).JSON()
	out, err := p.kms.CreateKey(ctx, &kms.CreateKeyInput{Description: &k.description, Policy: &text, Tags: p.kmsTags(),
		KeySpec: k.spec, KeyUsage: k.usage}, p.once)
	if err != nil {
		return err
	}
	k.arn = aws.ToString(out.KeyMetadata.Arn)
	return p.vault().Check()
}

func (p *Provisioner) writeAlias(ctx context.Context, k *managedKey) error {
	_, err := p.kms.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &k.alias, TargetKeyId: &k.arn})
	if !is(err, "AlreadyExistsException") {
		return err
	}
	_, err = p.kms.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: &k.alias, TargetKeyId: &k.arn})
	return Explain(err, "kms:UpdateAlias", k.alias)
}

func (p *Provisioner) keyPolicy(k *managedKey) policy.Document {
	if k.signs() {
		return p.vault().SigningKeyPolicy(p.access())
	}
	return p.vault().KeyPolicy(p.access())
}

// planKeyPolicy plans a key's policy. All of it is vaultpack's: a statement added
// by somebody would give access to principals that the settings do not name.
func (p *Provisioner) planKeyPolicy(ctx context.Context, k *managedKey) ([]Step, error) {
	name, old := "default", ""
	want := func() string { return withID(p.keyPolicy(k), old) }
	return p.plan(ctx, k.resource(), k.arn != "", []property{{
		name: "policy", get: "kms:GetKeyPolicy", put: "kms:PutKeyPolicy",
		read: func(ctx context.Context) (string, error) {
			out, err := p.kms.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &k.arn, PolicyName: &name})
			if err != nil {
				return "", err
			}
			old = aws.ToString(out.Policy)
			return canonical(old), nil
		},
		want:     func() string { return canonical(want()) },
		document: true,
		write: func(ctx context.Context) error {
			text := want()
			_, err := p.kms.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &k.arn, PolicyName: &name, Policy: &text})
			return err
		},
	}})
}
