// Package s3store stores a vault in a bucket of S3, or of a server that speaks
// its protocol.
package s3store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsarn "github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/arn"
	"github.com/vaultpack/vaultpack/internal/awsname"
	"github.com/vaultpack/vaultpack/vault"
)

// Settings specify how to use a bucket. The zero value of each field except KMSKey
// is a good default. Credentials are not part of the settings: they come from
// the AWS SDK's credential chain. So do the region and endpoint, if they are empty.
type Settings struct {
	// Endpoint is the http or https URL of a server other than AWS.
	Endpoint string `yaml:"endpoint"`
	Region   string `yaml:"region"`
	// Profile is a profile in the AWS configuration files.
	Profile string `yaml:"profile"`
	// PathStyle puts the bucket into the path of URLs instead of the host name. If
	// it is nil, the default is true if an endpoint is set.
	PathStyle *bool `yaml:"path_style"`

	// SSE is "aws:kms" (or empty) to require server-side encryption of every
	// object under KMSKey, or "none" to leave encryption to the bucket. Everything
	// that vaultpack stores is sealed in either case.
	SSE string `yaml:"sse"`
	// KMSKey is the ARN of the KMS key for SSE, not an alias. With a server other
	// than AWS it may be anything that the server accepts as a key.
	KMSKey string `yaml:"kms_key"`

	// StorageClass is the storage class of objects of 128 KiB or more. Smaller
	// objects cost less in the default class.
	StorageClass string `yaml:"storage_class"`
	// Tags are set on every object. There may be at most ten.
	Tags          map[string]string `yaml:"tags"`
	RequesterPays bool              `yaml:"requester_pays"`
	// BucketOwner is the account that must own the bucket. If another account owns
	// it, every request fails.
	BucketOwner string `yaml:"bucket_owner"`

	// PartSize is the size of an upload's parts in bytes, 5 to 16 MiB; by default
	// slightly more than 8 MiB. PartConcurrency is the number of parts of one object that
	// are sent at once; by default 3. See [Store.PutMemory].
	PartSize        int64 `yaml:"part_size"`
	PartConcurrency int   `yaml:"part_concurrency"`

	// Attempts is the maximum number of attempts of a request, by default 6. The
	// pauses between them grow to MaxBackoff, by default 10 seconds.
	Attempts   int           `yaml:"attempts"`
	MaxBackoff time.Duration `yaml:"max_backoff"`
	// StallTimeout is how long a connection may be silent, by default a minute.
	StallTimeout time.Duration `yaml:"stall_timeout"`
	// StaleUploads is the age from which Sweep considers an unfinished multipart
	// upload abandoned by a process that died; by default a day.
	StaleUploads time.Duration `yaml:"stale_uploads"`

	// Checksum is the checksum that every upload carries for the server to check:
	// crc64nvme (or empty), crc32, sha256, or none, for servers that refuse the
	// others.
	Checksum string `yaml:"checksum"`

	// MFACode asks for the code of an MFA device, for profiles that require one. If
	// it is nil, such a profile is an error that wraps fs.ErrPermission.
	MFACode func(ctx context.Context, profile, serial string) (string, error) `yaml:"-"`

	// LoadOptions are passed to the SDK's config.LoadDefaultConfig after
	// vaultpack's own options. They are for programs that supply their own
	// credentials.
	LoadOptions []func(*config.LoadOptions) error `yaml:"-"`
}

// Limits of the settings.
const (
	minPartSize = 5 << 20 // the limit of S3
	// MinIO refuses larger chunks over TLS.
	maxPartSize = 16 << 20
	// A little more than 8 MiB, so that a sealed pack of 128 MiB takes exactly
	// sixteen parts.
	defaultPartSize    = 8<<20 + 16<<10
	defaultConcurrency = 3
	defaultAttempts    = 6
	defaultStall       = time.Minute
	defaultBackoff     = 10 * time.Second
	// classMinSize is the minimum size that S3 bills in its cheaper classes.
	classMinSize = 128 << 10
)

// DefaultStaleUploads is the default of Settings.StaleUploads.
const DefaultStaleUploads = 24 * time.Hour

// SSENone is the value of Settings.SSE that asks for no server-side encryption.
const SSENone = "none"

// A Store is a [vault.Store] in an S3 bucket, or in a bucket of a server that speaks S3's
// protocol.
//
// Every upload carries a checksum, by default a CRC64NVME of the whole object, which the
// server checks. Unless SSE is "none", every upload requests SSE-KMS with a bucket key and
// is checked afterwards: an object that is not encrypted in this way is deleted, and the
// call returns an [SSEError]. An older object that Put replaced is then lost, unless the
// bucket keeps versions; Replace restores what it replaced.
type Store struct {
	client  *s3.Client
	loc     Location
	set     Settings
	region  string
	tags    string
	retryer aws.Retryer
	up      *partSender
	meter   *meter
	payer   types.RequestPayer
	owner   *string
	sum     checksum
	https   bool
	custom  bool // an endpoint other than AWS
}

var (
	_ vault.Sweeper       = (*Store)(nil)
	_ vault.UploadKeeper  = (*Store)(nil)
	_ vault.VersionKeeper = (*Store)(nil)
	_ vault.Buffered      = (*Store)(nil)
	_ vault.Metered       = (*Store)(nil)
)

// Open returns a store at the S3 location that the URL names (see [ParseURL]). It
// sends no request: the first operation shows whether the bucket exists and may be
// used.
func Open(ctx context.Context, url string, set Settings) (*Store, error) {
	loc, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	s := &Store{loc: loc, set: set, meter: &meter{}}
	if err := s.defaults(); err != nil {
		return nil, fmt.Errorf("the settings of %s: %w", url, err)
	}
	s.retryer = retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = s.set.Attempts, s.set.MaxBackoff
		o.Retryables = append(o.Retryables, retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if isBroken(err) || isClockSkew(err) || isGarbled(err) {
				return aws.TrueTernary
			}
			return aws.UnknownTernary
		}))
		// The SDK's retry quota would end a long upload if the server failed for a minute.
		o.RateLimiter = ratelimit.None
	})
	cfg, err := set.loadAWS(ctx,
		config.WithHTTPClient(newHTTPClient(s.set.StallTimeout)),
		config.WithRetryer(func() aws.Retryer { return s.retryer }),
	)
	if err != nil {
		return nil, err
	}
	var custom bool
	s.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		custom = set.Reach(o)
		s.custom = custom
		s.https = !custom || strings.HasPrefix(*o.BaseEndpoint, "https://")
		if o.Region == "" {
			o.Region = defaultRegion(loc, custom)
		}
		s.region = o.Region
		o.UseARNRegion = true
		o.RequestChecksumCalculation = s.sum.calculation()
		// s3Body checks bodies, including resumed ones.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		s.meter.next = o.HTTPClient
		o.HTTPClient = s.meter
	})
	if s.region == "" {
		return nil, fmt.Errorf("the region of %s is not known: set region, or AWS_REGION, or one in the AWS profile", url)
	}
	if err := s.checkKMSKey(custom); err != nil {
		return nil, fmt.Errorf("the settings of %s: %w", url, err)
	}
	s.up = newPartSender(s.client, s.set.PartSize, s.set.PartConcurrency, s.sum.calculation())
	return s, nil
}

// defaultRegion returns the region if none is configured.
func defaultRegion(loc Location, custom bool) string {
	if a, err := awsarn.Parse(loc.Bucket); err == nil && a.Region != "" {
		return a.Region
	}
	if custom {
		return "us-east-1"
	}
	return ""
}

// defaults fills in defaults, and checks what can be checked without a request.
func (s *Store) defaults() error {
	set := &s.set
	if set.PartSize == 0 {
		set.PartSize = defaultPartSize
	}
	if set.PartSize < minPartSize || set.PartSize > maxPartSize {
		return fmt.Errorf("part_size is %d bytes, but must be from %d to %d", set.PartSize, minPartSize, maxPartSize)
	}
	if set.PartConcurrency == 0 {
		set.PartConcurrency = defaultConcurrency
	}
	if set.Attempts == 0 {
		set.Attempts = defaultAttempts
	}
	if set.MaxBackoff == 0 {
		set.MaxBackoff = defaultBackoff
	}
	if set.StallTimeout == 0 {
		set.StallTimeout = defaultStall
	}
	if set.StaleUploads == 0 {
		set.StaleUploads = DefaultStaleUploads
	}
	if set.PartConcurrency < 0 || set.Attempts < 0 || set.MaxBackoff < 0 || set.StallTimeout < 0 || set.StaleUploads < 0 {
		return fmt.Errorf("part_concurrency, attempts, max_backoff, stall_timeout and stale_uploads cannot be negative")
	}
	switch set.SSE {
	case "":
		set.SSE = string(types.ServerSideEncryptionAwsKms)
	case SSENone, string(types.ServerSideEncryptionAwsKms):
	default:
		return fmt.Errorf("sse is %q, but must be aws:kms or none", set.SSE)
	}
	if err := checkStorageClass(set.StorageClass); err != nil {
		return err
	}
	var err error
	if s.sum, err = newChecksum(set.Checksum); err != nil {
		return err
	}
	if set.BucketOwner != "" {
		if !awsname.IsAccount(set.BucketOwner) {
			return fmt.Errorf("bucket_owner is %q, but must be an account's number of 12 digits", set.BucketOwner)
		}
		s.owner = &set.BucketOwner
	}
	if set.RequesterPays {
		s.payer = types.RequestPayerRequester
	}
	return s.encodeTags()
}

// encodeTags checks the tags against the limits of S3 and encodes them for its header.
func (s *Store) encodeTags() error {
	if len(s.set.Tags) > 10 {
		return fmt.Errorf("there are %d tags, but S3 takes 10 at most", len(s.set.Tags))
	}
	v := url.Values{}
	for _, key := range slices.Sorted(maps.Keys(s.set.Tags)) {
		value := s.set.Tags[key]
		if !awsname.IsTag(key, value) {
			return fmt.Errorf("the tag %q is not one for S3: keys have 1 to 128 characters and do not begin with aws:, values up to 256; "+
				"all are letters, digits, spaces and _.:/=+-@", key)
		}
		v.Set(key, value)
	}
	s.tags = v.Encode()
	return nil
}

func checkStorageClass(class string) error {
	switch c := types.StorageClass(class); c {
	case "":
		return nil
	case types.StorageClassGlacier, types.StorageClassDeepArchive:
		return fmt.Errorf("storage_class %s cannot be read without being restored first, so no vault can lie there; use GLACIER_IR", class)
	case types.StorageClassStandard, types.StorageClassStandardIa, types.StorageClassOnezoneIa,
		types.StorageClassIntelligentTiering, types.StorageClassGlacierIr, types.StorageClassReducedRedundancy:
		return nil
	}
	return fmt.Errorf("storage_class is %q, but must be STANDARD, STANDARD_IA, ONEZONE_IA, INTELLIGENT_TIERING or GLACIER_IR", class)
}

func (s *Store) checkKMSKey(custom bool) error {
	key := s.set.KMSKey
	switch {
	case s.set.SSE == SSENone:
		if key != "" {
			return fmt.Errorf("kms_key is set, but sse is none; remove one of the two")
		}
	case key == "":
		return fmt.Errorf("kms_key is missing: set it to the ARN of the KMS key for server-side encryption, or set sse: none")
	case strings.Contains(key, "alias/"):
		return fmt.Errorf("kms_key is the alias %s; aliases can be moved to other keys, so set the key's ARN (aws kms describe-key --key-id %s)", key, key)
	case !custom && !arn.IsKey(key):
		return fmt.Errorf("kms_key is %q, but must be a key's ARN, such as arn:aws:kms:eu-central-1:111122223333:key/…", key)
	}
	return nil
}

// PutMemory returns the maximum number of bytes that a Put buffers. An object
// that fits into one part takes at most twice its size.
func (s *Store) PutMemory() int64 {
	// The manager keeps one more buffer than there are senders, and reads the first part
	// into separate memory, which grows as it reads.
	return s.set.PartSize * int64(s.set.PartConcurrency+3)
}

// PutRequests returns the requests that a Put of size bytes makes without
// retries. A Create makes the requests of a Put of one byte.
func (s *Store) PutRequests(size int64) vault.Requests {
	u := vault.Requests{Puts: 1, Gets: 1, BytesSent: size}
	if s.set.PartSize > 0 && size >= s.set.PartSize {
		u.Puts = 2 + (size+s.set.PartSize-1)/s.set.PartSize
	}
	return u
}

// ListRequests returns how many requests it takes to list n objects.
func (s *Store) ListRequests(n int) int64 { return max(int64(n+999)/1000, 1) }

// Usage returns the requests that the store has made so far.
func (s *Store) Usage() vault.Requests {
	if s.meter == nil {
		return vault.Requests{}
	}
	return s.meter.usage()
}

// Location returns the store's location in S3.
func (s *Store) Location() Location { return s.loc }

// key returns the key of the object with that name.
func (s *Store) key(name string) (string, error) {
	if s == nil || s.client == nil {
		return "", errNotOpened
	}
	key := s.loc.Prefix + name
	if err := checkKey(key); err != nil {
		return "", fmt.Errorf("the object's name %w", err)
	}
	return key, nil
}

var errNotOpened = errors.New("s3store: a Store that was not opened by Open")
