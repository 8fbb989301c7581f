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

	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/provision/policy"
)

func (p *Provisioner) alias() string       { return "alias/" + p.Name }
func (p *Provisioner) description() string { return "vaultpack: data keys and objects of " + p.URL() }
func (p *Provisioner) keyResource() string {
	if p.keyARN == "" {
		return "the KMS key " + p.alias()
	}
	return "the KMS key " + p.keyARN
}

// planKey plans the key but its policy, which names the roles.
func (p *Provisioner) planKey(ctx context.Context) ([]Step, error) {
	key, err := p.findKey(ctx)
	if err != nil {
		return nil, err
	}
	var steps []Step
	var tags map[string]string
	p.keyARN = ""
	if key == nil {
		steps = append(steps, Step{Resource: p.keyResource(), Change: "create", To: "symmetric, for " + p.URL(), Action: "kms:CreateKey", do: p.createKey})
	} else {
		p.keyARN = aws.ToString(key.Arn)
		if tags, err = p.keyTags(ctx, p.keyARN); err != nil {
			return nil, Explain(err, "kms:ListResourceTags", p.keyResource())
		}
		if err := p.usable(key); err != nil {
			return nil, err
		}
		if err := p.ours(p.keyResource(), tags); err != nil {
			return nil, err
		}
		if err := p.checkTags(p.keyResource(), tags); err != nil {
			return nil, err
		}
		if err := p.lookAtGrants(ctx); err != nil {
			return nil, err
		}
	}
	properties := []property{p.aliasProperty(), p.rotationProperty()}
	if key != nil { // a new one is made with these
		properties = append(properties, p.tagProperty(tags), p.descriptionProperty(key))
	}
	more, err := p.plan(ctx, p.keyResource(), key != nil, properties)
	return append(steps, more...), err
}

func (p *Provisioner) aliasProperty() property {
	return property{
		name: "alias", get: "kms:DescribeKey", put: "kms:CreateAlias",
		read: func(ctx context.Context) (string, error) {
			k, err := p.describe(ctx, p.alias())
			if k == nil || err != nil {
				return "", err
			}
			if arn := aws.ToString(k.Arn); arn != p.keyARN {
				// Moved away from our key, or that of another vault.
				theirs, err := p.keyTags(ctx, arn)
				var denied *DeniedError
				if err = Explain(err, "kms:ListResourceTags", arn); err != nil && !errors.As(err, &denied) {
					return "", err
				}
				if theirs[TagKey] != "" {
					if err := p.ours("the alias "+p.alias()+" of "+arn, theirs); err != nil {
						return "", err
					}
				}
				return p.alias() + " of " + arn, nil
			}
			return p.alias(), nil
		},
		want:  p.alias,
		write: p.writeAlias,
	}
}

func (p *Provisioner) rotationProperty() property {
	rotation := "" // as it is
	return property{
		name: "rotation", get: "kms:GetKeyRotationStatus", put: "kms:EnableKeyRotation",
		read: func(ctx context.Context) (string, error) {
			out, err := p.kms.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: &p.keyARN})
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
			_, err := p.kms.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: &p.keyARN})
			return err
		},
	}
}

func (p *Provisioner) tagProperty(tags map[string]string) property {
	return property{
		name: "tag", get: "kms:ListResourceTags", put: "kms:TagResource",
		read: func(context.Context) (string, error) { return p.tagText(tags), nil },
		want: func() string { return p.tagText(p.tags()) },
		write: func(ctx context.Context) error {
			_, err := p.kms.TagResource(ctx, &kms.TagResourceInput{KeyId: &p.keyARN, Tags: p.kmsTags()})
			return err
		},
	}
}

func (p *Provisioner) descriptionProperty(key *types.KeyMetadata) property {
	return property{
		name: "description", get: "kms:DescribeKey", put: "kms:UpdateKeyDescription",
		read: func(context.Context) (string, error) { return aws.ToString(key.Description), nil },
		want: p.description,
		write: func(ctx context.Context) error {
			d := p.description()
			_, err := p.kms.UpdateKeyDescription(ctx, &kms.UpdateKeyDescriptionInput{KeyId: &p.keyARN, Description: &d})
			return err
		},
	}
}

// Find looks for the key alone, whatever its state, so that [Provisioner.Outputs]
// can name it.
func (p *Provisioner) Find(ctx context.Context) error {
	if err := given.Check(ctx, p != nil && p.mu != nil, errNotMade); err != nil {
		return err
	}
	if p.BucketOnly {
		return nil
	}
	if err := p.identify(ctx); err != nil {
		return err
	}
	key, err := p.findKey(ctx)
	if key != nil {
		p.keyARN = aws.ToString(key.Arn)
	}
	return err
}

// findKey finds the key that is configured, or has the alias, or that an
// interrupted run has made and not yet given its alias. It is nil if there is none.
func (p *Provisioner) findKey(ctx context.Context) (*types.KeyMetadata, error) {
	if p.Key != "" {
		k, err := p.describe(ctx, p.Key)
		if err == nil && k == nil {
			err = fmt.Errorf("there is no KMS key %s in %s; check kms_keys, the region and the account", p.Key, p.region)
		}
		return k, err
	}
	k, err := p.describe(ctx, p.alias())
	if k != nil || err != nil {
		return k, err
	}
	return p.findOrphan(ctx)
}

// findOrphan finds the key that an interrupted run has made, by its description and
// its tag. Of many keys several are looked at at once.
func (p *Provisioner) findOrphan(ctx context.Context) (*types.KeyMetadata, error) {
	var arns []string
	pages := kms.NewListKeysPaginator(p.kms, &kms.ListKeysInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, Explain(err, "kms:ListKeys", "*")
		}
		for _, entry := range page.Keys {
			arns = append(arns, aws.ToString(entry.KeyArn))
		}
	}
	found := make([]*types.KeyMetadata, len(arns))
	err := p.parallel(len(arns), "KMS keys looked at", func(i int) error {
		k, err := p.describe(ctx, arns[i])
		var denied *DeniedError
		if errors.As(err, &denied) {
			return nil // a key that the caller may not even look at is none that it made
		}
		if err != nil || k == nil || aws.ToString(k.Description) != p.description() || k.KeyState != types.KeyStateEnabled {
			return err
		}
		tags, err := p.keyTags(ctx, arns[i])
		if err != nil {
			return Explain(err, "kms:ListResourceTags", arns[i])
		}
		if tags[TagKey] == TagValue(p.URL()) {
			found[i] = k
		}
		return nil
	})
	for _, k := range found {
		if k != nil && err == nil {
			return k, nil
		}
	}
	return nil, err
}

// describe is nil where there is no such key.
func (p *Provisioner) describe(ctx context.Context, key string) (*types.KeyMetadata, error) {
	out, err := p.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &key})
	if is(err, "NotFoundException") {
		return nil, nil
	}
	if err != nil {
		return nil, Explain(err, "kms:DescribeKey", key)
	}
	return out.KeyMetadata, nil
}

// usable refuses keys that vaultpack cannot use, and those that somebody has put
// out of use on purpose.
func (p *Provisioner) usable(k *types.KeyMetadata) error {
	arn := aws.ToString(k.Arn)
	switch {
	case k.KeyManager == types.KeyManagerTypeAws:
		return fmt.Errorf("%s is a key of AWS's own, whose policy cannot be changed; leave kms_keys out, and init makes one", arn)
	case k.KeySpec != types.KeySpecSymmetricDefault || k.KeyUsage != types.KeyUsageTypeEncryptDecrypt:
		return fmt.Errorf("%s cannot wrap data keys: its spec is %s and its usage %s", arn, k.KeySpec, k.KeyUsage)
	case k.KeyState == types.KeyStatePendingDeletion:
		return fmt.Errorf("%s will be deleted on %s, and all data of the vault is lost with it; to keep it: aws kms cancel-key-deletion --key-id %s",
			arn, aws.ToTime(k.DeletionDate).Format(time.DateOnly), arn)
	case k.KeyState == types.KeyStateDisabled:
		return fmt.Errorf("%s is disabled, which somebody did on purpose; to undo that: aws kms enable-key --key-id %s", arn, arn)
	}
	return nil
}

func (p *Provisioner) keyTags(ctx context.Context, arn string) (map[string]string, error) {
	tags := map[string]string{}
	pages := kms.NewListResourceTagsPaginator(p.kms, &kms.ListResourceTagsInput{KeyId: &arn})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range page.Tags {
			tags[aws.ToString(t.TagKey)] = aws.ToString(t.TagValue)
		}
	}
	return tags, nil
}

func (p *Provisioner) kmsTags() (tags []types.Tag) {
	for k, v := range p.tags() {
		tags = append(tags, types.Tag{TagKey: &k, TagValue: &v})
	}
	return tags
}

// createKey makes the key with a policy that lets the admins continue, and nobody use
// it: the roles are not there yet.
func (p *Provisioner) createKey(ctx context.Context) error {
	text := policy.FirstKeyPolicy(p.partition, p.account, p.Admins).JSON()
	d := p.description()
	out, err := p.kms.CreateKey(ctx, &kms.CreateKeyInput{Description: &d, Policy: &text, Tags: p.kmsTags(),
		KeySpec: types.KeySpecSymmetricDefault, KeyUsage: types.KeyUsageTypeEncryptDecrypt}, p.once)
	if err != nil {
		return err
	}
	p.keyARN = aws.ToString(out.KeyMetadata.Arn)
	return p.vault().Check()
}

func (p *Provisioner) writeAlias(ctx context.Context) error {
	name := p.alias()
	_, err := p.kms.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &name, TargetKeyId: &p.keyARN})
	if !is(err, "AlreadyExistsException") {
		return err
	}
	_, err = p.kms.UpdateAlias(ctx, &kms.UpdateAliasInput{AliasName: &name, TargetKeyId: &p.keyARN})
	return Explain(err, "kms:UpdateAlias", name)
}

// planKeyPolicy plans the key's policy. All of it is vaultpack's: a statement that
// somebody has added would let in whom the settings do not name.
func (p *Provisioner) planKeyPolicy(ctx context.Context) ([]Step, error) {
	name, old := "default", ""
	want := func() string { return withID(p.vault().KeyPolicy(p.access()), old) }
	return p.plan(ctx, p.keyResource(), p.keyARN != "", []property{{
		name: "policy", get: "kms:GetKeyPolicy", put: "kms:PutKeyPolicy",
		read: func(ctx context.Context) (string, error) {
			out, err := p.kms.GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: &p.keyARN, PolicyName: &name})
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
			_, err := p.kms.PutKeyPolicy(ctx, &kms.PutKeyPolicyInput{KeyId: &p.keyARN, PolicyName: &name, Policy: &text})
			return err
		},
	}})
}
