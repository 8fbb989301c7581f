package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/internal/given"
)

// Find looks up only the keys, in any state, so that [Provisioner.Outputs] can name
// them.
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
	p.orphans = nil
	for _, k := range p.keys() {
		key, err := p.findKey(ctx, k)
		if err != nil {
			return err
		}
		if key != nil {
			k.arn = aws.ToString(key.Arn)
		}
	}
	return nil
}

// keys returns the keys that init makes and maintains.
func (p *Provisioner) keys() []*managedKey {
	if p.makesSigningKey() {
		return []*managedKey{&p.key, &p.signing}
	}
	return []*managedKey{&p.key}
}

// findKey finds the key that is configured, or has the alias, or was made by an
// interrupted run but has no alias yet. It returns nil if there is none.
func (p *Provisioner) findKey(ctx context.Context, k *managedKey) (*types.KeyMetadata, error) {
	if k.configured != "" {
		found, err := p.describe(ctx, k.configured)
		if err == nil && found == nil {
			err = fmt.Errorf("there is no KMS key %s in %s; check kms_keys, the region and the account", k.configured, p.region)
		}
		return found, err
	}
	found, err := p.describe(ctx, k.alias)
	if found != nil || err != nil {
		return found, err
	}
	if p.orphans == nil {
		if p.orphans, err = p.findOrphans(ctx); err != nil {
			return nil, err
		}
	}
	return p.orphans[k.description], nil
}

// findOrphans finds the keys that an interrupted run has made, by their descriptions and
// the tag. It examines several keys at once.
func (p *Provisioner) findOrphans(ctx context.Context) (map[string]*types.KeyMetadata, error) {
	var arns []string
	ours := map[string]bool{}
	for _, k := range p.keys() {
		ours[k.description] = true
	}
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
			return nil // the caller did not make a key that it may not even describe
		}
		if err != nil || k == nil || !ours[aws.ToString(k.Description)] || k.KeyState != types.KeyStateEnabled {
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
	orphans := map[string]*types.KeyMetadata{}
	for _, k := range slices.Backward(found) { // the first of several
		if k != nil {
			orphans[aws.ToString(k.Description)] = k
		}
	}
	return orphans, err
}

// describe returns nil if there is no such key.
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
