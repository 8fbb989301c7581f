package awskms

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/arn"
)

// SlotKind is the kind of the slots of this package. Their Key is the key's ARN,
// and Wrapped is the CiphertextBlob that KMS returned.
const SlotKind = "aws-kms"

// maxBlob is the largest CiphertextBlob that KMS takes (API reference, Decrypt).
const maxBlob = 6144

// API is the part of KMS that this package calls. [*kms.Client] implements it.
// It must be safe for concurrent use.
type API interface {
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
	GenerateDataKey(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error)
	Encrypt(context.Context, *kms.EncryptInput, ...func(*kms.Options)) (*kms.EncryptOutput, error)
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
	ReEncrypt(context.Context, *kms.ReEncryptInput, ...func(*kms.Options)) (*kms.ReEncryptOutput, error)
}

// NewClient returns an SDK client with retries that suit a call that a whole job
// waits for. Unless cfg (or the environment: AWS_RETRY_MODE, AWS_MAX_ATTEMPTS)
// says otherwise, it uses the SDK's standard mode with 5 attempts: it retries
// after throttling, the status codes 500, 502, 503 and 504, timeouts and broken
// connections, after a random part of 2, 4, 8 and 16 seconds. It does not retry
// errors that a retry cannot fix. The waiting ends when the context ends. With
// the SDK's own HTTP client, an attempt without a response after 15 seconds is
// abandoned; the SDK alone would wait for ever.
func NewClient(cfg aws.Config, optFns ...func(*kms.Options)) *kms.Client {
	standard := func(o *kms.Options) {
		if c, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
			o.HTTPClient = c.WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = 15 * time.Second })
		}
		if cfg.Retryer == nil && cfg.RetryMode == "" && cfg.RetryMaxAttempts == 0 {
			o.Retryer = retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = 5 })
		}
	}
	return kms.NewFromConfig(cfg, append([]func(*kms.Options){standard}, optFns...)...)
}

// A Key is one AWS KMS key. It is safe for concurrent use.
type Key struct {
	api     API
	arn     string
	name    arn.Key // the same in its parts
	related bool
	flights flights
}

var (
	_ envelope.DataKeyGenerator = (*Key)(nil)
	_ envelope.ServiceKey       = (*Key)(nil)
	_ envelope.Rewrapper        = (*Key)(nil)
)

// An Option configures a new Key.
type Option func(*Key)

// AcceptRelated makes the key, which must be a multi-Region key, also open the
// slots of its related keys: those with the same mrk- key ID in another Region
// of the same account. Related keys have the same key material, so this trusts
// nobody who was not trusted before. But a call to this key succeeds even if
// the key that the slot names is disabled or has a stricter policy.
func AcceptRelated() Option { return func(k *Key) { k.related = true } }

// IsKeyARN reports whether s is the ARN of a KMS key, not of an alias. The key
// need not exist.
func IsKeyARN(s string) bool { return arn.IsKey(s) }

// New returns the Key with the given key ARN, which takes no call, or alias name
// (alias/NAME), alias ARN or key ID, which takes one DescribeKey. Alias names and
// key IDs are looked up in the client's Region and the caller's account. If the
// key cannot wrap data keys, the error is an [*Error].
func New(ctx context.Context, client API, key string, opts ...Option) (*Key, error) {
	if err := begin(ctx); err != nil {
		return nil, err
	}
	if client == nil {
		return nil, errors.New("the KMS client is nil: make one with NewClient")
	}
	k := &Key{api: client}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("an option is nil")
		}
		o(k)
	}
	var err error
	_, _, isAlias := arn.ParseAlias(key)
	switch {
	case IsKeyARN(key):
		k.arn = key
	case isAlias, arn.IsAliasName(key), arn.IsKeyID(key):
		if k.arn, err = resolve(ctx, client, key); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%q is not a KMS key: use a key ARN, an alias ARN, alias/NAME or a key ID", key)
	}
	k.name, _ = arn.ParseKey(k.arn)
	if k.related && !k.MultiRegion() {
		return nil, fmt.Errorf("%s is not a multi-Region key, so it has no related keys", k.arn)
	}
	return k, nil
}

// begin is the error of a context that nothing may be begun under.
func begin(ctx context.Context) error {
	if ctx == nil {
		return errors.New("the context is nil; context.Background() is the one without an end")
	}
	return ctx.Err()
}

// ready is the error of a use that must not begin.
func (k *Key) ready(ctx context.Context, op string) error {
	if ctx != nil && ctx.Err() != nil {
		return cancelled(op, ctx.Err())
	}
	if err := begin(ctx); err != nil {
		return err
	}
	if k == nil || k.api == nil {
		return fmt.Errorf("%w: the awskms.Key is nil or a zero value: it is got from New", envelope.ErrKeyUnusable)
	}
	return nil
}

// resolve asks KMS which key ARN an alias or a key ID stands for.
func resolve(ctx context.Context, client API, name string) (string, error) {
	var in []func(*kms.Options)
	region, account, isAlias := arn.ParseAlias(name)
	if isAlias {
		in = []func(*kms.Options){inRegion(region)}
	}
	out, err := client.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &name}, in...)
	if err != nil {
		return "", wrap(ctx, "DescribeKey", name, err)
	}
	answer := func(format string, args ...any) error {
		return &Error{Op: "DescribeKey", KeyARN: name, Reason: WrongAnswer, err: fmt.Errorf(format, args...)}
	}
	if out.KeyMetadata == nil || !IsKeyARN(aws.ToString(out.KeyMetadata.Arn)) {
		return "", answer("the answer has no key ARN")
	}
	m, key := out.KeyMetadata, *out.KeyMetadata.Arn
	got, _ := arn.ParseKey(key)
	switch {
	case isAlias && (region != got.Region || account != got.Account):
		return "", answer("the answer is %s, of another Region or account", key)
	case !isAlias && !arn.IsAliasName(name) && got.ID != name:
		return "", answer("the answer is %s, another key", key)
	case m.KeyUsage != types.KeyUsageTypeEncryptDecrypt || m.KeySpec != types.KeySpecSymmetricDefault:
		return "", &Error{Op: "DescribeKey", KeyARN: key, Reason: Unsuitable, err: fmt.Errorf("its usage is %s and its spec is %s", m.KeyUsage, m.KeySpec)}
	}
	return key, nil
}

// MultiRegion reports whether the key is a multi-Region key, by its ID.
func (k *Key) MultiRegion() bool { return strings.HasPrefix(k.name.ID, "mrk-") }

// ARN returns the key's ARN, as slots record it.
func (k *Key) ARN() string {
	if k == nil {
		return ""
	}
	return k.arn
}

// Describe returns the Kind and Key of the key's slots: [SlotKind] and the ARN.
func (k *Key) Describe() (kind, key string) { return SlotKind, k.ARN() }

// String returns the kind and the ARN.
func (k *Key) String() string { return SlotKind + " " + k.ARN() }

// inRegion has a call made in the Region, and keeps data keys out of logs.
func inRegion(region string) func(*kms.Options) {
	return func(o *kms.Options) {
		o.Region = region
		o.ClientLogMode &^= aws.LogRequestWithBody | aws.LogResponseWithBody
	}
}

var errNoContext = errors.New("the encryption context is empty: the data key would be bound to nothing")

// GenerateDataKey asks KMS for a new data key of 32 bytes (AES_256), bound to ec.
// The caller overwrites it after use.
func (k *Key) GenerateDataKey(ctx context.Context, ec envelope.EncryptionContext) ([]byte, envelope.Slot, error) {
	const op = "GenerateDataKey"
	if err := k.ready(ctx, op); err != nil {
		return nil, envelope.Slot{}, err
	}
	if len(ec) == 0 {
		return nil, envelope.Slot{}, errNoContext
	}
	out, err := k.api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: &k.arn, KeySpec: types.DataKeySpecAes256, EncryptionContext: ec}, inRegion(k.name.Region))
	if err != nil {
		return nil, envelope.Slot{}, wrap(ctx, op, k.arn, err)
	}
	slot, err := k.slot(op, out.KeyId, out.CiphertextBlob)
	if err == nil && len(out.Plaintext) != envelope.DataKeySize {
		err = k.answer(op, "the data key has %d bytes, want %d", len(out.Plaintext), envelope.DataKeySize)
	}
	if err != nil {
		clear(out.Plaintext)
		return nil, envelope.Slot{}, err
	}
	return out.Plaintext, slot, nil
}

// Wrap encrypts a data key with one call to Encrypt.
func (k *Key) Wrap(ctx context.Context, dataKey []byte, ec envelope.EncryptionContext) (envelope.Slot, error) {
	const op = "Encrypt"
	if err := k.ready(ctx, op); err != nil {
		return envelope.Slot{}, err
	}
	if len(ec) == 0 {
		return envelope.Slot{}, errNoContext
	}
	out, err := k.api.Encrypt(ctx, &kms.EncryptInput{KeyId: &k.arn, Plaintext: dataKey, EncryptionContext: ec}, inRegion(k.name.Region))
	if err != nil {
		return envelope.Slot{}, wrap(ctx, op, k.arn, err)
	}
	return k.slot(op, out.KeyId, out.CiphertextBlob)
}

// Unwrap decrypts a data key with one call to Decrypt. Goroutines that unwrap the
// same slot and context at the same time share the call. Nothing is cached: the
// next Unwrap makes another call.
//
// For a slot of another key the error is [envelope.ErrNoSlot], or a [*RelatedError]
// if [AcceptRelated] would have opened it. If the contents or the context do not
// match, the error is [envelope.ErrAuthentication]. Any other error is an [*Error],
// or wraps the error of ctx.
func (k *Key) Unwrap(ctx context.Context, slot envelope.Slot, ec envelope.EncryptionContext) ([]byte, error) {
	if err := k.ready(ctx, "Decrypt"); err != nil {
		return nil, err
	}
	if !k.opens(slot) {
		if k.isRelated(slot) {
			return nil, &RelatedError{KeyARN: k.arn, SlotARN: slot.Key}
		}
		return nil, envelope.ErrNoSlot
	}
	if len(ec) == 0 {
		return nil, errNoContext
	}
	if n := len(slot.Wrapped); n == 0 || n > maxBlob {
		return nil, envelope.ErrAuthentication
	}
	// The call may outlast this one, whose caller then has its own back.
	ec = maps.Clone(ec)
	slot.Wrapped = bytes.Clone(slot.Wrapped)
	return k.flights.do(ctx, flightKey(slot, ec), func(ctx context.Context) ([]byte, error) {
		return k.decrypt(ctx, slot.Wrapped, ec)
	})
}

// Matches reports whether Unwrap would ask KMS to open the slot: whether it names
// this key, or a related key if those are accepted.
func (k *Key) Matches(slot envelope.Slot) bool { return k.opens(slot) }

// opens reports whether the slot is of this key, or of a related one where those are
// accepted.
func (k *Key) opens(slot envelope.Slot) bool {
	return slot.Kind == SlotKind && slot.Key == k.arn || k.related && k.isRelated(slot)
}

// isRelated reports whether the slot is of the same multi-Region key in another Region.
func (k *Key) isRelated(slot envelope.Slot) bool {
	if slot.Kind != SlotKind || slot.Key == k.arn || !k.MultiRegion() {
		return false
	}
	theirs, ok := arn.ParseKey(slot.Key)
	theirs.Region = k.name.Region
	return ok && theirs == k.name
}

func (k *Key) decrypt(ctx context.Context, blob []byte, ec envelope.EncryptionContext) ([]byte, error) {
	const op = "Decrypt"
	out, err := k.api.Decrypt(ctx, &kms.DecryptInput{KeyId: &k.arn, CiphertextBlob: blob, EncryptionContext: ec}, inRegion(k.name.Region))
	if err != nil {
		return nil, wrap(ctx, op, k.arn, err)
	}
	if err := k.checkKeyID(op, out.KeyId); err != nil {
		clear(out.Plaintext)
		return nil, err
	}
	if len(out.Plaintext) != envelope.DataKeySize {
		clear(out.Plaintext)
		return nil, envelope.ErrAuthentication // whoever may Encrypt can make such a slot
	}
	return out.Plaintext, nil
}

// Rewrap moves a slot of this key to another key, and from the context ec to the
// context toEC, with one call to ReEncrypt. The data key stays in KMS. Both must be
// keys of this package in the same Region, otherwise the error wraps
// errors.ErrUnsupported. To move a data key elsewhere, open the keyring and add a
// slot. The other errors are those of Unwrap.
func (k *Key) Rewrap(ctx context.Context, slot envelope.Slot, ec envelope.EncryptionContext, other envelope.KeyWrapper, toEC envelope.EncryptionContext) (envelope.Slot, error) {
	const op = "ReEncrypt"
	if err := k.ready(ctx, op); err != nil {
		return envelope.Slot{}, err
	}
	to, ok := other.(*Key)
	if !ok && other != nil {
		return envelope.Slot{}, fmt.Errorf("kms %s: %T is no key of AWS KMS: %w", op, other, errors.ErrUnsupported)
	}
	if err := to.ready(ctx, op); err != nil {
		return envelope.Slot{}, err
	}
	switch {
	case !k.opens(slot):
		return envelope.Slot{}, envelope.ErrNoSlot
	case len(ec) == 0 || len(toEC) == 0:
		return envelope.Slot{}, errNoContext
	case len(slot.Wrapped) == 0 || len(slot.Wrapped) > maxBlob:
		return envelope.Slot{}, envelope.ErrAuthentication
	case k.name.Region != to.name.Region:
		return envelope.Slot{}, &Error{Op: op, KeyARN: to.arn, Reason: WrongRegion, err: fmt.Errorf("the slot's key is opened in %s", k.name.Region)}
	}
	out, err := k.api.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: slot.Wrapped, SourceKeyId: &k.arn, SourceEncryptionContext: ec,
		DestinationKeyId: &to.arn, DestinationEncryptionContext: toEC}, inRegion(k.name.Region))
	if err != nil {
		return envelope.Slot{}, wrap(ctx, op, k.arn+" to "+to.arn, err)
	}
	if err := k.checkKeyID(op, out.SourceKeyId); err != nil {
		return envelope.Slot{}, err
	}
	return to.slot(op, out.KeyId, out.CiphertextBlob)
}

// slot makes the slot of an answer.
func (k *Key) slot(op string, keyID *string, blob []byte) (envelope.Slot, error) {
	if err := k.checkKeyID(op, keyID); err != nil {
		return envelope.Slot{}, err
	}
	if n := len(blob); n == 0 || n > maxBlob {
		return envelope.Slot{}, k.answer(op, "the ciphertext has %d bytes, want 1 to %d", n, maxBlob)
	}
	return envelope.Slot{Kind: SlotKind, Key: k.arn, Wrapped: blob}, nil
}

func (k *Key) checkKeyID(op string, keyID *string) error {
	if got := aws.ToString(keyID); got != k.arn {
		return k.answer(op, "the answer is of key %q", got)
	}
	return nil
}

func (k *Key) answer(op, format string, args ...any) error {
	return &Error{Op: op, KeyARN: k.arn, Reason: WrongAnswer, err: fmt.Errorf(format, args...)}
}
