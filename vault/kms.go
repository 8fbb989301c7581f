package vault

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
)

// addKMS adds the configured KMS keys, in their order.
func (k *Keys) addKMS(ctx context.Context, c *Config, add func(envelope.KeyWrapper, string)) (err error) {
	if len(c.KMSKeys) == 0 {
		return nil
	}
	if k.kms, err = newKMS(ctx, c); err != nil {
		return err
	}
	for _, s := range c.KMSKeys {
		key, err := awskms.New(ctx, k.kms, s.Value)
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
	cfg, err := AWSConfig(ctx, c)
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
