// Package provision creates and maintains what a vault in AWS needs: a KMS key, a
// bucket that encrypts with it, and the roles that upload, train and read. It first
// reads what exists and makes a plan, then carries out the plan. After an
// interruption, the next run continues. It never deletes anything, and takes over
// only resources that are tagged as this vault's, unless Target.Adopt is set.
package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/provision/policy"
)

// TagKey is the key of the tag on resources that belong to a vault. Its value is
// TagValue of the vault's URL.
const TagKey = "vaultpack:vault"

// A Target describes the vault to create.
type Target struct {
	Settings
	// Bucket is the bucket's name. Prefix is empty or ends in "/".
	Bucket, Prefix string
	// Key is the ARN or alias of the KMS key to use, or empty to create one. With
	// BucketOnly it may be anything that the server accepts as a key, or empty for
	// no server-side encryption.
	Key string
	// Adopt takes over existing resources that are not tagged as this vault's.
	Adopt bool
	// BucketOnly creates only the bucket, with the features that its server
	// supports. It is for servers other than AWS.
	BucketOnly bool
}

// URL returns the vault's URL.
func (t *Target) URL() string { return strings.TrimSuffix("s3://"+t.Bucket+"/"+t.Prefix, "/") }

// A Provisioner reads and creates what a target needs. It is not safe for concurrent
// use.
type Provisioner struct {
	Target
	given Settings // without what New has filled in

	kms *kms.Client
	s3  *s3.Client
	iam *iam.Client
	sts *sts.Client

	region             string
	partition, account string
	caller             string
	key, signing       managedKey
	// orphans are keys without an alias yet, by description, once they have been looked for.
	orphans map[string]*kmstypes.KeyMetadata
	// roleARNs are the ARNs of existing roles, by name: they may have a path.
	roleARNs map[string]string
	notes    []string
	warnings []string

	// OnWait, if set, is called before each wait for AWS. OnProgress, if set, is
	// called to report the progress of many requests of one kind. They may be called
	// from several goroutines, one at a time, while a method runs.
	OnWait     func(Wait)
	OnProgress func(what string, done, total int)

	mu    *sync.Mutex                                // guards the calls of both, and roleARNs
	sleep func(context.Context, time.Duration) error // nil except in tests
}

// New returns a Provisioner that calls AWS with cfg. s3Options are passed to the
// S3 client only.
func New(cfg aws.Config, t Target, s3Options ...func(*s3.Options)) (*Provisioner, error) {
	given := t.Settings
	if err := t.check(); err != nil {
		return nil, err
	}
	p := &Provisioner{Target: t, given: given, roleARNs: map[string]string{}, mu: &sync.Mutex{}}
	p.describeKeys()
	if cfg.Retryer == nil && cfg.RetryMode == "" && cfg.RetryMaxAttempts == 0 {
		cfg.Retryer = func() aws.Retryer { return newPatient(p) }
	}
	p.kms, p.iam, p.sts = kms.NewFromConfig(cfg), iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)
	p.s3 = s3.NewFromConfig(cfg, s3Options...)
	if p.region = p.s3.Options().Region; p.region == "" {
		return nil, fmt.Errorf("the region of %s is not known: set region, or AWS_REGION, or one in the AWS profile", t.URL())
	}
	return p, nil
}

// A Step is one change.
type Step struct {
	// Resource names what is changed, for people. Change is "create", "set" (for
	// something that was created) or "change".
	Resource, Change string
	// Property is the property that is changed, or empty for the whole resource.
	Property string
	// From and To are the old and new values.
	From, To string
	// Document is the policy, if the step sets one. Until the key is created, it
	// names a key that does not exist.
	Document string
	// Action is the IAM action that the step needs.
	Action string

	do   func(context.Context) error
	role bool // a role's step, which depends on no other role
}

func (s Step) String() string {
	text := s.Change + " " + s.Resource
	if s.Property != "" {
		text += ": " + s.Property
	}
	switch {
	case s.From != "" && s.To != "":
		text += " (" + s.To + "; it is " + s.From + ")"
	case s.To != "":
		text += " (" + s.To + ")"
	}
	return text
}

// A Plan lists what to do, in order. A plan without steps means that there is nothing
// to do.
type Plan struct {
	Steps []Step
	// Notes say what is left unchanged, and why.
	Notes []string
	// Warnings describe dangers to the vault that vaultpack must not change itself.
	Warnings []string
	// Caller is the ARN of the caller, and Admins are the ARNs of those who will manage
	// the key.
	Caller string
	Admins []string
}

// Plan reads what exists and plans what is missing or must change. It changes
// nothing. If it lacks a permission to read, the error is a [DeniedError].
func (p *Provisioner) Plan(ctx context.Context) (*Plan, error) {
	if err := given.Check(ctx, p != nil && p.mu != nil, errNotMade); err != nil {
		return nil, err
	}
	p.notes, p.warnings, p.orphans = nil, nil, nil
	plan := &Plan{}
	if !p.BucketOnly {
		if err := p.identify(ctx); err != nil {
			return nil, err
		}
		plan.Caller, plan.Admins = p.caller, p.Admins
		// Find what AWS would reject because of its size before reading or changing anything.
		if err := p.checkLimits(); err != nil {
			return nil, err
		}
	}
	for _, part := range p.parts() {
		steps, err := part(ctx)
		if err != nil {
			return nil, err
		}
		plan.Steps = append(plan.Steps, steps...)
	}
	plan.Notes, plan.Warnings = p.notes, p.warnings
	return plan, nil
}

// parts plan in the order of dependencies: roles name the keys, whose policies name
// the roles, and the bucket names the key.
func (p *Provisioner) parts() []func(context.Context) ([]Step, error) {
	if p.BucketOnly {
		return []func(context.Context) ([]Step, error){p.planBucket}
	}
	var keys, policies []func(context.Context) ([]Step, error)
	for _, k := range p.keys() {
		keys = append(keys, func(ctx context.Context) ([]Step, error) { return p.planKey(ctx, k) })
		policies = append(policies, func(ctx context.Context) ([]Step, error) { return p.planKeyPolicy(ctx, k) })
	}
	return slices.Concat(keys, []func(context.Context) ([]Step, error){p.planRoles}, policies, []func(context.Context) ([]Step, error){p.planBucket})
}

// manyRoles is the number of roles from which several are created at once.
const manyRoles = 20

// Outputs holds the names and ARNs that other tools need to use the vault.
type Outputs struct {
	KMSKeyID     string            `json:"kms_key_id,omitempty"`
	KMSKeyARN    string            `json:"kms_key_arn,omitempty"`
	SigningKey   string            `json:"signing_key_arn,omitempty"`
	S3BucketName string            `json:"s3_bucket_name"`
	Region       string            `json:"region"`
	UploaderRole string            `json:"uploader_role_arn,omitempty"`
	ReaderRole   string            `json:"reader_role_arn,omitempty"`
	TrainerRoles map[string]string `json:"trainer_role_arns,omitempty"` // by dataset, "*" for all
}

// Outputs returns the outputs after a Plan without steps, or after Apply.
func (p *Provisioner) Outputs() Outputs {
	o := Outputs{S3BucketName: p.Bucket, Region: p.region}
	if p.BucketOnly {
		return o
	}
	o.KMSKeyARN, o.SigningKey = p.key.arn, p.signs()
	_, o.KMSKeyID, _ = strings.Cut(p.key.arn, ":key/")
	o.TrainerRoles = map[string]string{}
	for _, r := range p.roles() {
		switch r.kind {
		case "uploader":
			o.UploaderRole = r.arn
		case "reader":
			o.ReaderRole = r.arn
		default:
			o.TrainerRoles[r.dataset] = r.arn
		}
	}
	return o
}

// vault describes the vault for its policies. Until the key is made, the policies
// of a plan name a key that does not exist.
func (p *Provisioner) vault() policy.Vault {
	v := policy.Vault{Bucket: p.Bucket, Prefix: p.Prefix, KeyARN: p.key.arn}
	if v.KeyARN == "" {
		v.KeyARN = p.noKey()
	}
	return v
}

// makesSigningKey reports whether init maintains a KMS key that versions are signed with.
func (p *Provisioner) makesSigningKey() bool { return !p.BucketOnly && p.SigningKey == "" }

// signs returns the ARN of the KMS key that versions are signed with, or "" if there is
// none or it has not been made yet.
func (p *Provisioner) signs() string {
	if p.makesSigningKey() {
		return p.signing.arn
	}
	return p.Target.uploader().SigningKey
}

func (p *Provisioner) noKey() string {
	// As long as a real one, so that sizes are correct.
	return fmt.Sprintf("arn:%s:kms:%s:%s:key/to-be-made-00000000-0000-000000000000", p.partition, p.region, p.account)
}

func (p *Provisioner) warnf(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

func (p *Provisioner) notef(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// A property is a property of a resource that is read, compared and written.
type property struct {
	name     string
	get, put string // the IAM actions for reading and writing
	// read returns the current value as text, empty if nothing is set.
	read func(context.Context) (string, error)
	// want is the desired text, and show shortens the difference.
	want func() string
	show func(is, want string) (from, to string)
	// document is true if the texts are policies.
	document bool
	write    func(context.Context) error
	// given is true if a new resource may already have the property. Then it is read
	// first, and written only if it differs: a caller who may not write it may not
	// need to.
	given bool
	// limit is the most bytes that AWS accepts, or 0 for any number; instead says
	// what to do if there are more.
	limit   int
	instead string
}

// plan makes the steps for what differs. For a resource that does not exist yet,
// everything does.
func (p *Provisioner) plan(ctx context.Context, resource string, exists bool, properties []property) ([]Step, error) {
	var steps []Step
	for _, q := range properties {
		is := ""
		if exists {
			var err error
			if is, err = q.read(ctx); awserr.Unimplemented(err) {
				p.notef("%s: this server has no %s, so it is left out", resource, q.name)
				continue
			} else if err != nil {
				if errors.Is(err, ErrNotOurs) {
					return nil, err
				}
				return nil, Explain(err, q.get, resource)
			}
		}
		want := q.want()
		if is == want {
			continue
		}
		if q.limit > 0 && len(want) > q.limit {
			return nil, &LimitError{What: q.name + " of " + resource, Size: len(want), Limit: q.limit, Unit: "bytes", Instead: q.instead}
		}
		s := Step{Resource: resource, Change: "change", Property: q.name, From: is, To: want, Action: q.put, do: q.write}
		switch {
		case q.document:
			s.From, s.To, s.Document = "", policyDifference(is, want), want
		case q.show != nil:
			s.From, s.To = q.show(is, want)
		}
		switch {
		case !exists:
			s.Change = "set"
		case is == "":
			s.From = "missing"
		}
		if q.given && !exists {
			s.do = func(ctx context.Context) error {
				if is, err := q.read(ctx); err == nil && is == q.want() {
					return nil
				}
				return q.write(ctx)
			}
		}
		if p.BucketOnly {
			s.do = func(ctx context.Context) error {
				if err := q.write(ctx); !awserr.Unimplemented(err) {
					return err
				}
				p.notef("%s: this server has no %s, so it was left out", resource, q.name)
				return nil
			}
		}
		steps = append(steps, s)
	}
	return steps, nil
}

var errNotMade = errors.New("provision: a Provisioner that was not made by New, or a nil plan")
