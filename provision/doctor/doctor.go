// Package doctor checks everything that a training job from this machine depends
// on: settings, credentials, keys, the bucket or directory, and the machine
// itself. Each check reports what it found, why that matters and how to fix it. The
// checks change nothing, except that they write two small objects with reserved
// names, and a few files in a directory, and always remove them again.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// Options specify what to check, and for whom. Config is required.
type Options struct {
	Config *config.Config
	// Dataset is the dataset that will be used, or empty. The calls to KMS are
	// tested with its encryption context, and its keyrings are opened.
	Dataset string
	// Role is the ARN of the role for training jobs, or empty.
	Role string
	// Outputs are the s3:// URLs that jobs may write to; by default a place in the vault.
	Outputs []string
	// Binary finds the vaultpack program that training images run, and describes it.
	Binary func() (string, error)
	// Told, if not nil, is called with each finding immediately.
	Told func(Finding)
}

// A doctor is the state of one call of Run.
type doctor struct {
	Options

	aws   aws.Config
	s3    *s3.Client
	kms   *kms.Client
	sts   *sts.Client
	iam   *iam.Client
	store vault.Store
	inS3  *s3store.Store // the same, for a vault in S3
	loc   s3store.Location
	// elsewhere is true for a server other than AWS, which has no accounts.
	elsewhere bool

	head     *http.Response // the response to HeadBucket, without its body
	headErr  error
	headTime time.Time         // when it arrived, by the local clock
	keys     *vault.Keys       // as configured
	arns     map[string]string // of the KMS keys, as configured
	sseKey   string            // for the objects in S3, by its ARN
	versions string            // the bucket's versioning
	bytes    int64             // of the dataset's newest version, if that is known
	probes   []string          // the names of objects to remove
	sseErr   error             // what the store reported about the probe
	weak     []vault.Weakness  // of the file system of a directory

	// Tests replace these.
	root func() fs.FS
	free func(dir string) (uint64, error)
	wrap func(vault.Store) vault.Store
	asks func(context.Context, []simulated) (allowed []bool, err error)
}

// A Result is the outcome of a check.
type Result string

// The results. A warning is about something that works but should be improved. A
// check is skipped if it does not apply, if a check that it depends on has
// failed, or if the caller is not allowed to look.
const (
	OK      Result = "ok"
	Warning Result = "warning"
	Failed  Result = "failed"
	Skipped Result = "skipped"
)

// A Finding is the result of one check.
type Finding struct {
	Check string `json:"check"`
	// On says which of several resources was checked, such as the ARN of a key.
	On     string `json:"on,omitempty"`
	Result Result `json:"result"`
	// Reason says what was found, and Fix what to do about it.
	Reason string `json:"reason"`
	Fix    string `json:"fix,omitempty"`
	// Missing are the IAM actions that the caller is not allowed to perform. If the
	// check failed, that is the reason.
	Missing []string `json:"missing_permissions,omitempty"`

	unknown bool // AWS does not know the caller; nothing else has failed
	blocks  bool // checks that need this one are skipped too, although it has not failed
}

// A Report holds all findings.
type Report []Finding

// Count returns the number of checks with this result.
func (r Report) Count(result Result) (n int) {
	for _, f := range r {
		if f.Result == result {
			n++
		}
	}
	return n
}

// Missing returns, sorted, the IAM actions whose absence made checks fail. only
// is true if nothing else has failed.
func (r Report) Missing() (actions []string, only bool) {
	only = true
	for _, f := range r {
		if f.Result == Failed {
			actions = append(actions, f.Missing...)
			only = only && len(f.Missing) > 0
		}
	}
	slices.Sort(actions)
	return slices.Compact(actions), only && len(actions) > 0
}

// NotAllowed reports whether something has failed, and only because
// permissions are missing or because AWS does not, or no longer, accept the
// credentials.
func (r Report) NotAllowed() bool {
	for _, f := range r {
		if f.Result == Failed && len(f.Missing) == 0 && !f.unknown {
			return false
		}
	}
	return r.Count(Failed) > 0
}

// A check looks at one thing.
type check struct {
	name, on string
	needs    []string // checks that must not have failed
	run      func(context.Context) Finding
}

// Run performs all checks, in the order of their dependencies. Its only errors are those
// of ctx and of missing options; it returns the findings so far with them.
func Run(ctx context.Context, opts Options) (Report, error) {
	return (&doctor{Options: opts}).check(ctx)
}

func (d *doctor) check(ctx context.Context) (Report, error) {
	if err := given.Check(ctx, d.Config != nil, errors.New("doctor: no configuration to look at")); err != nil {
		return nil, err
	}
	d.defaults()
	var report Report
	blocked := map[string]string{} // why checks that need the check are skipped
	defer d.removeProbes(context.WithoutCancel(ctx))
	for _, c := range d.checks() {
		f := Finding{}
		cause := ""
		for _, need := range c.needs {
			if cause == "" {
				cause = blocked[need]
			}
		}
		if cause != "" {
			f = skipped("%s", cause)
			f.blocks = true
		} else {
			f = c.runFor(ctx)
			if cause = "there is no vault yet"; f.Result == Failed {
				cause = "the check " + c.name + " has failed"
			}
		}
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		if f.Result == Failed || f.blocks {
			blocked[c.name] = cause
		}
		f.Check, f.On = c.name, c.on
		report = append(report, f)
		if d.Told != nil {
			d.Told(f)
		}
	}
	return report, nil
}

// patience is how long one check may take, even if servers do not answer.
const patience = time.Minute

func (c check) runFor(ctx context.Context) Finding {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	f := c.run(ctx)
	if ctx.Err() != nil && f.Result == Failed {
		f.Reason = fmt.Sprintf("no answer in %v (%s)", patience, f.Reason)
	}
	return f
}

func (d *doctor) defaults() {
	d.arns = map[string]string{}
	if d.free == nil {
		d.free = freeRoom
	}
	if d.root == nil {
		d.root = func() fs.FS { return os.DirFS("/") }
	}
	if d.asks == nil {
		d.asks = d.simulate
	}
	if d.wrap == nil {
		d.wrap = func(s vault.Store) vault.Store { return s }
	}
}

// checks returns the checks that this configuration needs.
func (d *doctor) checks() []check {
	inS3, inKMS := s3store.IsURL(d.Config.Vault.Value), len(d.Config.KMSKeys) > 0 || signsInKMS(d.Config)
	all := []check{{name: "settings", run: d.settings}}
	if inS3 || inKMS {
		all = append(all, check{name: "credentials", needs: []string{"settings"}, run: d.credentials})
	}
	if inS3 {
		all = append(all, d.bucketChecks()...)
	} else {
		all = append(all, check{name: "directory", needs: []string{"settings"}, run: d.directory})
		all = append(all, d.fileSystemChecks()...)
	}
	all = append(all, d.keyChecks()...)
	signs := []string{"keys"}
	if signsInKMS(d.Config) {
		signs = []string{"credentials"}
	}
	all = append(all, check{name: "signing key", needs: signs, run: d.signingKey})
	all = append(all, d.probeChecks(inS3)...)
	all = append(all, check{name: "keyrings", needs: []string{"keys", reached(inS3)}, run: d.keyrings},
		check{name: "known datasets", needs: []string{"settings"}, run: d.known},
		check{name: "disk", run: d.disk}, check{name: "memory", run: d.memory})
	if inS3 {
		all = append(all, check{name: "binary", run: d.binary},
			check{name: "training role", needs: []string{"credentials"}, run: d.role},
			check{name: "role permissions", needs: []string{"training role"}, run: d.permissions})
	}
	return all
}

// reached returns the check that shows that the vault can be reached.
func reached(inS3 bool) string {
	if inS3 {
		return "bucket"
	}
	return "directory"
}

// settings makes the clients, without sending anything.
func (d *doctor) settings(ctx context.Context) Finding {
	c := d.Config
	if !s3store.IsURL(c.Vault.Value) && strings.Contains(c.Vault.Value, "://") {
		return failed("write s3://BUCKET/PREFIX or a directory", "the vault %s (from %s) is neither in S3 nor a directory", c.Vault.Value, c.Vault.Source)
	}
	from := c.Vault.Source
	if !s3store.IsURL(c.Vault.Value) && len(c.KMSKeys) == 0 && !signsInKMS(c) {
		return ok("the vault is %s (from %s)", c.Vault.Value, from) // AWS is not involved
	}
	var err error
	if d.aws, err = c.AWS(ctx); err != nil {
		return failed("fix the AWS configuration files, or AWS_PROFILE", "%v", err)
	}
	d.aws.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 3, time.Second/2 })
	}
	d.s3 = s3.NewFromConfig(d.aws, c.S3Options)
	d.kms, d.sts, d.iam = awskms.NewClient(d.aws), sts.NewFromConfig(d.aws), iam.NewFromConfig(d.aws)
	d.elsewhere = d.s3.Options().BaseEndpoint != nil && d.iam.Options().BaseEndpoint == nil
	if s3store.IsURL(c.Vault.Value) {
		set := c.S3
		switch r, err := c.Resolved(ctx); {
		case err == nil:
			d.sseKey = r.SSEKey()
		case c.S3.KMSKey == "" && c.SSEKey() != "" && !awskms.IsKeyARN(c.SSEKey()), strings.Contains(c.S3.KMSKey, "alias/"):
			return broken("use the key's ARN, or check whether a key with that name exists: aws kms describe-key", err, "kms:DescribeKey")
		default:
			d.sseKey = c.SSEKey()
		}
		set.KMSKey = d.sseKey
		set.Attempts, set.MaxBackoff = 3, time.Second
		store, err := s3store.Open(ctx, c.Vault.Value, set)
		if err != nil {
			return failed("correct it in "+settingsFile(c)+"; vaultpack config shows where each setting comes from", "%v", err)
		}
		d.store, d.inS3, d.loc = d.wrap(store), store, store.Location()
	} else if len(c.KMSKeys) > 0 && d.aws.Region == "" {
		return failed("set AWS_REGION, or region in the AWS profile", "the region of the KMS keys is not known")
	}
	return ok("the vault is %s (from %s)", c.Vault.Value, from)
}

// settingsFile returns the file in which to correct settings.
func settingsFile(c *config.Config) string {
	if c.S3Source != "" {
		return c.S3Source
	}
	return config.FileName
}
