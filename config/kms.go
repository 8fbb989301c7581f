package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// Resolved is the configuration with the ARN of a KMS key wherever it names one by
// an alias, an alias ARN or a key ID: for data keys, and for the objects in S3. Each
// such name takes one DescribeKey; ARNs take no call. What another server than AWS
// takes for a key of its own stays as it is.
func (c *Config) Resolved(ctx context.Context) (*Config, error) {
	r := *c
	r.KMSKeys = slices.Clone(c.KMSKeys)
	arns := map[string]string{}
	for i := range r.KMSKeys {
		if err := r.resolve(ctx, &r.KMSKeys[i], arns); err != nil {
			return nil, err
		}
	}
	if named, err := r.sseNamed(ctx); err != nil || !named {
		return &r, err
	}
	key := Setting{r.S3.KMSKey, cmp.Or(r.S3Source, "s3.kms_key")}
	err := r.resolve(ctx, &key, arns)
	r.S3.KMSKey = key.Value
	return &r, err
}

// resolve puts the ARN of a key in the place of its name. arns are those that were
// asked for already.
func (c *Config) resolve(ctx context.Context, key *Setting, arns map[string]string) (err error) {
	name := key.Value
	if awskms.IsKeyARN(name) {
		return nil
	}
	if arns[name] == "" {
		if c.kms == nil {
			if c.kms, err = newKMS(ctx, c); err != nil {
				return err
			}
		}
		k, err := awskms.New(ctx, c.kms, name)
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("which KMS key %s is (from %s) could not be found out: %w; or name the key by its ARN, which takes no call", name, key.Source, err)
		}
		if err != nil {
			return fmt.Errorf("the KMS key from %s: %w", key.Source, err)
		}
		arns[name] = k.ARN()
	}
	key.Value = arns[name]
	return nil
}

// sseNamed tells whether the setting s3.kms_key names a key of AWS KMS by another
// name than its ARN. A server of one's own may have names of its own, but no aliases.
func (c *Config) sseNamed(ctx context.Context) (bool, error) {
	key := c.S3.KMSKey
	switch {
	case !s3store.IsURL(c.Vault.Value), c.S3.SSE == s3store.SSENone, key == "", awskms.IsKeyARN(key):
		return false, nil
	case strings.HasPrefix(key, "alias/"), strings.Contains(key, ":alias/"):
		return true, nil
	}
	cfg, err := c.AWS(ctx)
	if err != nil {
		return false, err
	}
	return !c.S3Elsewhere(cfg), nil
}

// S3Elsewhere tells whether S3 is another server than AWS: it has an endpoint of its
// own, and not because all of AWS is reached there (AWS_ENDPOINT_URL).
func (c *Config) S3Elsewhere(cfg aws.Config) bool {
	at := s3.NewFromConfig(cfg, c.S3Options).Options().BaseEndpoint
	all := sts.NewFromConfig(cfg).Options().BaseEndpoint
	return at != nil && (all == nil || *all != *at)
}

// addKMS adds the configured KMS keys to k, in their order.
func addKMS(ctx context.Context, c *Config, k *vault.Keys, add func(envelope.KeyWrapper, string)) (err error) {
	if len(c.KMSKeys) == 0 {
		return nil
	}
	client := c.kms
	if client == nil {
		if client, err = newKMS(ctx, c); err != nil {
			return err
		}
	}
	k.Calls = client.calls.Load
	for _, s := range c.KMSKeys {
		key, err := awskms.New(ctx, client, s.Value)
		if err == nil && c.KMSRelated && key.MultiRegion() {
			key, err = awskms.New(ctx, client, key.ARN(), awskms.AcceptRelated())
		}
		if err != nil {
			return fmt.Errorf("the KMS key from %s: %w", s.Source, err)
		}
		add(key, key.ARN())
	}
	return nil
}

// KMSKey is another KMS key than the configured ones.
func KMSKey(ctx context.Context, c *Config, key string) (*awskms.Key, error) {
	client, err := newKMS(ctx, c)
	if err != nil {
		return nil, err
	}
	return awskms.New(ctx, client, key)
}

// newKMS makes a client with credentials, region and endpoint from the chain of
// the AWS SDK.
func newKMS(ctx context.Context, c *Config) (*countedKMS, error) {
	cfg, err := c.AWS(ctx)
	if err != nil {
		return nil, err
	}
	return &countedKMS{api: awskms.NewClient(cfg)}, nil
}

// countedKMS counts calls: KMS bills each.
type countedKMS struct {
	api   awskms.API
	calls atomic.Int64
}

func (c *countedKMS) DescribeKey(ctx context.Context, in *kms.DescribeKeyInput, opts ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	c.calls.Add(1)
	return c.api.DescribeKey(ctx, in, opts...)
}

func (c *countedKMS) GenerateDataKey(ctx context.Context, in *kms.GenerateDataKeyInput, opts ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	c.calls.Add(1)
	return c.api.GenerateDataKey(ctx, in, opts...)
}

func (c *countedKMS) Encrypt(ctx context.Context, in *kms.EncryptInput, opts ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	c.calls.Add(1)
	return c.api.Encrypt(ctx, in, opts...)
}

func (c *countedKMS) Decrypt(ctx context.Context, in *kms.DecryptInput, opts ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	c.calls.Add(1)
	return c.api.Decrypt(ctx, in, opts...)
}

func (c *countedKMS) ReEncrypt(ctx context.Context, in *kms.ReEncryptInput, opts ...func(*kms.Options)) (*kms.ReEncryptOutput, error) {
	c.calls.Add(1)
	return c.api.ReEncrypt(ctx, in, opts...)
}
