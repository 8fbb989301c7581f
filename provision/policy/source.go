package policy

import (
	"fmt"
	"strings"

	"github.com/vaultpack/vaultpack/internal/arn"
)

// A Source is the place in a bucket that data is uploaded from.
type Source struct {
	Bucket string
	Prefix string // of keys; empty, or ends in a slash
	// KeyARN is the key of its objects, or empty if SSE-KMS encrypts none of them.
	KeyARN string
}

// WithSource returns the policy of a role, with what push and plan need to read a source.
func (v Vault) WithSource(d Document, s Source) Document {
	bucket := arn.Bucket(v.partition(), s.Bucket)
	var below Conditions // nothing, for a whole bucket
	if s.Prefix != "" {
		below = when("StringEquals", "s3:prefix", s.Prefix)
	}
	lists := []Statement{
		allow("VaultpackSourceList", []string{"s3:ListBucket", "s3:ListBucketVersions"}, []string{bucket}, below),
		allow("VaultpackSourceVersioning", []string{"s3:GetBucketVersioning"}, []string{bucket}),
	}
	d.Statement = append(append(d.Statement[:len(d.Statement):len(d.Statement)], lists...), v.readSource(s)...)
	return d
}

// WithPlannedSource is WithSource for a worker, who reads what a plan has pinned and lists
// nothing.
func (v Vault) WithPlannedSource(d Document, s Source) Document {
	d.Statement = append(d.Statement[:len(d.Statement):len(d.Statement)], v.readSource(s)...)
	return d
}

func (v Vault) readSource(s Source) []Statement {
	all := []Statement{allow("VaultpackSourceRead", []string{"s3:GetObject", "s3:GetObjectVersion"}, []string{arn.Bucket(v.partition(), s.Bucket) + "/" + s.Prefix + "*"})}
	if s.KeyARN != "" {
		all = append(all, allow("VaultpackSourceKey", []string{"kms:Decrypt"}, []string{s.KeyARN}, when("StringLike", "kms:ViaService", "s3.*")))
	}
	return all
}

// Check returns an error if the source cannot be put into a policy as it is.
func (s Source) Check() error {
	if strings.ContainsAny(s.Bucket+s.Prefix, "*?$") {
		return fmt.Errorf("the source s3://%s/%s has a character that means something else in a policy", s.Bucket, s.Prefix)
	}
	if s.KeyARN != "" && !arn.IsKey(s.KeyARN) {
		return fmt.Errorf("%q is not the ARN of a KMS key", s.KeyARN)
	}
	return nil
}
