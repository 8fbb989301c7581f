package awskms

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/arn"
	"github.com/vaultpack/vaultpack/signing"
)

// SignAPI is the part of KMS that a [Signer] calls. [*kms.Client] implements it. It
// must be safe for concurrent use.
type SignAPI interface {
	GetPublicKey(context.Context, *kms.GetPublicKeyInput, ...func(*kms.Options)) (*kms.GetPublicKeyOutput, error)
	Sign(context.Context, *kms.SignInput, ...func(*kms.Options)) (*kms.SignOutput, error)
}

// A Signer is an asymmetric AWS KMS key that signs versions. Its private key never leaves
// KMS. It is safe for concurrent use.
type Signer struct {
	api    SignAPI
	arn    string
	public signing.PublicKey
}

var _ signing.Signer = (*Signer)(nil)

// NewSigner returns the Signer for the ARN of a key, or of an alias. The key must have the
// spec ECC_NIST_P256 and the usage SIGN_VERIFY. NewSigner makes one GetPublicKey call. Keys
// of the spec ECC_NIST_EDWARDS25519 are refused: KMS signs at most 4,096 bytes with them,
// and what vaultpack signs can be longer.
func NewSigner(ctx context.Context, client SignAPI, key string) (*Signer, error) {
	if err := begin(ctx); err != nil {
		return nil, err
	}
	if client == nil {
		return nil, errors.New("the KMS client is nil: make one with NewClient")
	}
	region, account, isAlias := arn.ParseAlias(key)
	named, isKey := arn.ParseKey(key)
	if !isKey && !isAlias {
		return nil, fmt.Errorf("%q is not a KMS key that signs: use a key ARN or an alias ARN", key)
	}
	if isKey {
		region, account = named.Region, named.Account
	}
	out, err := client.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &key}, inRegion(region))
	if err != nil {
		return nil, wrap(ctx, "GetPublicKey", key, err)
	}
	answer := func(reason Reason, format string, args ...any) error {
		return &Error{Op: "GetPublicKey", KeyARN: key, Reason: reason, err: fmt.Errorf(format, args...)}
	}
	got, ok := arn.ParseKey(aws.ToString(out.KeyId))
	switch {
	case !ok:
		return nil, answer(WrongAnswer, "the answer has no key ARN")
	case got.Region != region || got.Account != account || isKey && *out.KeyId != key:
		return nil, answer(WrongAnswer, "the answer is of %s, another key", *out.KeyId)
	case out.KeySpec != types.KeySpecEccNistP256 || out.KeyUsage != types.KeyUsageTypeSignVerify:
		return nil, answer(Unsuitable, "its usage is %s and its spec is %s", out.KeyUsage, out.KeySpec)
	}
	parsed, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		return nil, answer(WrongAnswer, "the public key cannot be read")
	}
	s := &Signer{api: client, arn: *out.KeyId}
	if s.public, err = signing.NewPublicKey(parsed); err != nil {
		return nil, answer(WrongAnswer, "%w", err)
	}
	return s, nil
}

// ARN returns the key's ARN.
func (s *Signer) ARN() string {
	if s == nil {
		return ""
	}
	return s.arn
}

// Public returns the key's public key, as KMS returned it.
func (s *Signer) Public() signing.PublicKey {
	if s == nil {
		return signing.PublicKey{}
	}
	return s.public
}

// String returns the ARN.
func (s *Signer) String() string { return "aws-kms " + s.ARN() }

// Sign signs the message with one kms:Sign call (ECDSA_SHA_256), which is sent only
// the SHA-256 of the message.
func (s *Signer) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if ctx != nil && ctx.Err() != nil {
		return nil, cancelled("Sign", ctx.Err())
	}
	if err := begin(ctx); err != nil {
		return nil, err
	}
	if s == nil || s.api == nil {
		return nil, fmt.Errorf("%w: the awskms.Signer is nil or a zero value: it is got from NewSigner", envelope.ErrKeyUnusable)
	}
	region, _ := arn.ParseKey(s.arn)
	sum := sha256.Sum256(message)
	out, err := s.api.Sign(ctx, &kms.SignInput{KeyId: &s.arn, Message: sum[:], MessageType: types.MessageTypeDigest,
		SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256}, inRegion(region.Region))
	if err != nil {
		return nil, wrap(ctx, "Sign", s.arn, err)
	}
	if s.public.Verify(message, out.Signature) != nil {
		return nil, &Error{Op: "Sign", KeyARN: s.arn, Reason: WrongAnswer, err: errors.New("the signature is not by that key")}
	}
	return out.Signature, nil
}
