package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/keyservice"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// Resolved returns the configuration with every alias, alias ARN and key ID of a KMS
// key replaced by the key's ARN: for data keys, and for the objects in S3. Each such
// name takes one DescribeKey; ARNs take no call. The key names of servers other than
// AWS stay unchanged.
func (c *Config) Resolved(ctx context.Context) (*Config, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, err
	}
	r := *c
	r.KMSKeys, r.keys = slices.Clone(c.KMSKeys), c.services()
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

// resolve replaces the name of a key with its ARN. arns holds those already looked
// up.
func (c *Config) resolve(ctx context.Context, key *Setting, arns map[string]string) error {
	name := key.Value
	if keyservice.Fixed(name) {
		return nil
	}
	if arns[name] == "" {
		k, err := c.services().Key(ctx, name)
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("cannot look up the KMS key %s (from %s): %w; or use the key's ARN, which needs no call", name, key.Source, err)
		}
		if err != nil {
			return fmt.Errorf("the KMS key from %s: %w", key.Source, err)
		}
		_, arns[name] = k.Describe()
	}
	key.Value = arns[name]
	return nil
}

// services opens keys in key services. All calls for a resolved configuration are
// counted together.
func (c *Config) services() *keyservice.Client {
	if c.keys != nil {
		return c.keys
	}
	return keyservice.New(keyservice.Settings{AWS: c.aws(), Related: c.KMSRelated})
}

// sseNamed reports whether the setting s3.kms_key names a key of AWS KMS by another
// name than its ARN. Other servers may have their own key names, but no aliases.
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
	return !c.s3Elsewhere(cfg), nil
}

// s3Elsewhere reports whether S3 is a server other than AWS: whether S3 has its own
// endpoint that is not the endpoint of all of AWS (AWS_ENDPOINT_URL).
func (c *Config) s3Elsewhere(cfg aws.Config) bool {
	at := s3.NewFromConfig(cfg, c.S3Options).Options().BaseEndpoint
	all := sts.NewFromConfig(cfg).Options().BaseEndpoint
	return at != nil && (all == nil || *all != *at)
}

// addKMS adds the configured KMS keys to k, in order.
func addKMS(ctx context.Context, c *Config, k *vault.Keys, add func(envelope.KeyWrapper, string)) error {
	if len(c.KMSKeys) == 0 {
		return nil
	}
	services := c.services()
	k.Calls = services.Calls
	for _, s := range c.KMSKeys {
		key, err := services.Key(ctx, s.Value)
		if err != nil {
			return fmt.Errorf("the KMS key from %s: %w", s.Source, err)
		}
		_, name := key.Describe()
		add(key, name)
	}
	return nil
}

// ServiceKey returns a key in a key service that need not be one of the configured
// keys.
func ServiceKey(ctx context.Context, c *Config, key string) (envelope.ServiceKey, error) {
	if err := given.Check(ctx, c != nil, errNoConfig); err != nil {
		return nil, err
	}
	return keyservice.New(keyservice.Settings{AWS: c.aws()}).Key(ctx, key)
}
