// Package keyservice opens keys that do not leave a key service, by their names. It is
// the only place that knows which services there are: to add one, write a package for
// it, and add an entry to services.
package keyservice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/awsload"
	"github.com/vaultpack/vaultpack/signing"
)

// Settings say how services are reached.
type Settings struct {
	AWS awsload.Settings
	// Related lets multi-Region keys of AWS open what was wrapped by their related
	// keys: see [awskms.AcceptRelated].
	Related bool
}

// A service is a kind of key service.
type service struct {
	kind string // the kind of its keys' slots
	// named reports whether a name belongs to one of its keys, and fixed whether it names
	// one key for good, so that no request is needed to find out which.
	named, fixed func(name string) bool
	// connect returns the function that opens keys. Each call to the service is counted.
	connect func(ctx context.Context, set Settings, calls *atomic.Int64) (opener, error)
	// signer opens a signing key, whose name named has accepted. Each call to the service
	// is counted.
	signer func(ctx context.Context, set Settings, calls *atomic.Int64, name string) (signing.Signer, error)
	// refused reports whether an error of its keys says that the caller may not use the
	// key, and stranger whether it says that the caller is unknown.
	refused, stranger func(err error) bool
}

type opener func(ctx context.Context, name string) (envelope.ServiceKey, error)

// services are all key services. The first that accepts a name gets it.
var services = []*service{
	{
		kind:  awskms.SlotKind,
		named: func(name string) bool { return !strings.Contains(name, "://") }, fixed: awskms.IsKeyARN,
		connect: connectAWS, signer: signerOfAWS,
		refused: ofAWS(awskms.NotAllowed), stranger: ofAWS(awskms.BadCredentials),
	},
}

func serviceOf(name string) (*service, error) {
	for _, s := range services {
		if s.named(name) {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%q is not a key of a key service: use a key ARN, an alias ARN, alias/NAME or a key ID of AWS KMS", name)
}

// Fixed reports whether the name names one key for good: for AWS KMS an ARN that is not
// an alias.
func Fixed(name string) bool {
	s, err := serviceOf(name)
	return err == nil && s.fixed(name)
}

// IsKind reports whether slots of the kind are of keys in a service.
func IsKind(kind string) bool {
	return slices.ContainsFunc(services, func(s *service) bool { return s.kind == kind })
}

// Refused reports whether the error says that a key service knows the caller, but does
// not let it use the key.
func Refused(err error) bool {
	return slices.ContainsFunc(services, func(s *service) bool { return s.refused(err) })
}

// Stranger reports whether the error says that a key service does not know the caller.
func Stranger(err error) bool {
	return slices.ContainsFunc(services, func(s *service) bool { return s.stranger(err) })
}

// A Client opens keys, and counts the calls to their services, which bill each. It
// connects when it is first asked for a key.
type Client struct {
	set   Settings
	open  map[*service]opener
	calls atomic.Int64
}

// New returns a client, without making a request.
func New(set Settings) *Client { return &Client{set: set, open: map[*service]opener{}} }

// Calls returns how many calls have been made, without retries of an SDK.
func (c *Client) Calls() int64 { return c.calls.Load() }

// Key opens a key by its name. One that is not [Fixed] takes a call.
func (c *Client) Key(ctx context.Context, name string) (envelope.ServiceKey, error) {
	s, err := serviceOf(name)
	if err != nil {
		return nil, err
	}
	if c.open[s] == nil {
		if c.open[s], err = s.connect(ctx, c.set, &c.calls); err != nil {
			return nil, err
		}
	}
	return c.open[s](ctx, name)
}

// Signer opens a signing key by its name, which takes a call.
func (c *Client) Signer(ctx context.Context, name string) (signing.Signer, error) {
	s, err := serviceOf(name)
	if err != nil {
		return nil, err
	}
	return s.signer(ctx, c.set, &c.calls, name)
}

func signerOfAWS(ctx context.Context, set Settings, calls *atomic.Int64, name string) (signing.Signer, error) {
	cfg, err := set.AWS.Load(ctx)
	if err != nil {
		return nil, err
	}
	s, err := awskms.NewSigner(ctx, &countedSigner{awskms.NewClient(cfg), calls}, name)
	if err != nil {
		return nil, err
	}
	return billed{s}, nil
}

// billed is a signer whose service bills each signature as a call.
type billed struct{ signing.Signer }

// Billed implements [vault.BilledSigner].
func (billed) Billed() {}

// connectAWS returns a client of KMS with credentials, region and endpoint from the chain
// of the AWS SDK.
func connectAWS(ctx context.Context, set Settings, calls *atomic.Int64) (opener, error) {
	cfg, err := set.AWS.Load(ctx)
	if err != nil {
		return nil, err
	}
	api := &countedKMS{awskms.NewClient(cfg), calls}
	return func(ctx context.Context, name string) (envelope.ServiceKey, error) {
		key, err := awskms.New(ctx, api, name)
		if err == nil && set.Related && key.MultiRegion() {
			key, err = awskms.New(ctx, api, key.ARN(), awskms.AcceptRelated())
		}
		if err != nil {
			return nil, err
		}
		return key, nil
	}, nil
}

// ofAWS reports whether an error comes from AWS KMS with the reason.
func ofAWS(reason awskms.Reason) func(error) bool {
	return func(err error) bool {
		var e *awskms.Error
		return errors.As(err, &e) && e.Reason == reason
	}
}

// countedSigner counts calls.
type countedSigner struct {
	awskms.SignAPI
	calls *atomic.Int64
}

func (c *countedSigner) GetPublicKey(ctx context.Context, in *kms.GetPublicKeyInput, opts ...func(*kms.Options)) (*kms.GetPublicKeyOutput, error) {
	c.calls.Add(1)
	return c.SignAPI.GetPublicKey(ctx, in, opts...)
}

func (c *countedSigner) Sign(ctx context.Context, in *kms.SignInput, opts ...func(*kms.Options)) (*kms.SignOutput, error) {
	c.calls.Add(1)
	return c.SignAPI.Sign(ctx, in, opts...)
}

// countedKMS counts calls.
type countedKMS struct {
	awskms.API
	calls *atomic.Int64
}

func (c *countedKMS) DescribeKey(ctx context.Context, in *kms.DescribeKeyInput, opts ...func(*kms.Options)) (*kms.DescribeKeyOutput, error) {
	c.calls.Add(1)
	return c.API.DescribeKey(ctx, in, opts...)
}

func (c *countedKMS) GenerateDataKey(ctx context.Context, in *kms.GenerateDataKeyInput, opts ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error) {
	c.calls.Add(1)
	return c.API.GenerateDataKey(ctx, in, opts...)
}

func (c *countedKMS) Encrypt(ctx context.Context, in *kms.EncryptInput, opts ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	c.calls.Add(1)
	return c.API.Encrypt(ctx, in, opts...)
}

func (c *countedKMS) Decrypt(ctx context.Context, in *kms.DecryptInput, opts ...func(*kms.Options)) (*kms.DecryptOutput, error) {
	c.calls.Add(1)
	return c.API.Decrypt(ctx, in, opts...)
}

func (c *countedKMS) ReEncrypt(ctx context.Context, in *kms.ReEncryptInput, opts ...func(*kms.Options)) (*kms.ReEncryptOutput, error) {
	c.calls.Add(1)
	return c.API.ReEncrypt(ctx, in, opts...)
}
