package provision

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/vaultpack/vaultpack/internal/arn"
	"github.com/vaultpack/vaultpack/internal/awsname"
	"github.com/vaultpack/vaultpack/provision/policy"
)

// Limits of AWS, from its documentation: IAM and AWS STS quotas, the quotas
// of KMS, bucket policies, tag restrictions, bucket naming rules, S3 lifecycle.
const (
	maxTrust        = 2048  // characters without white space of a role's trust policy
	maxInline       = 10240 // the same, of all inline policies of a role
	maxBucketPolicy = 20 << 10
	maxTags         = 50
	maxTagValue     = 256
	maxDescription  = 1000 // characters of a role's description
	maxRules        = 1000
)

// A LimitError reports a part of the plan that AWS would not accept because of its
// size.
type LimitError struct {
	What        string // "the trust policy of the role x"
	Size, Limit int
	Unit        string
	Instead     string // what to do instead
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s would have %d %s, and AWS takes %d: %s", e.What, e.Size, e.Unit, e.Limit, e.Instead)
}

// checkBucket checks the name against the rules of S3.
func checkBucket(name string) error {
	if !awsname.IsBucket(name) || strings.HasPrefix(name, "xn--") || strings.HasSuffix(name, "-s3alias") {
		return fmt.Errorf("%q cannot name a bucket: S3 takes 3 to 63 lower-case letters, digits, hyphens and single dots, from a letter or digit to a letter or digit", name)
	}
	return nil
}

// CheckLimits returns an error if policies of the vault are too large for AWS, in an
// account of the partition. It makes no requests.
func (p *Provisioner) CheckLimits(partition, account string) error {
	if p == nil || p.mu == nil {
		return errNotMade
	}
	q := *p
	q.partition, q.account = partition, account
	return q.checkLimits()
}

func (p *Provisioner) checkLimits() error {
	var all []error
	over := func(what string, size, limit int, unit, instead string) {
		if size > limit {
			all = append(all, &LimitError{what, size, limit, unit, instead})
		}
	}
	over("the policy of the key", len(p.vault().KeyPolicy(p.access()).JSON()), policy.MaxKeyPolicy, "bytes",
		"name fewer principals with --admin and --user, such as one role that the others assume, or fewer buckets with --output")
	told := map[string]bool{}
	for _, r := range p.roles() {
		// Roles of a kind have the same trust policy, and only the largest policy is reported.
		if trust := bare(p.trust(r).JSON()); !told["trust "+r.kind] && trust > maxTrust {
			told["trust "+r.kind] = true
			over("the trust policy of the role "+r.name, trust, maxTrust, "characters",
				"name fewer principals with --assume, such as one role that the others assume, or "+
					arn.Root(p.partition, p.account)+" for all in the account whom IAM allows it")
		}
		if own := bare(p.permissions(r).JSON()); !told["policy "+r.kind] && own > maxInline {
			told["policy "+r.kind] = true
			over("the policy of the role "+r.name, own, maxInline, "characters",
				"name fewer places with --output and --image: several outputs below one s3://BUCKET/PREFIX count as one")
		}
	}
	return errors.Join(all...)
}

// bare counts the characters of a policy as IAM does: without white space.
func bare(text string) (n int) {
	for _, r := range text {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// checkQuota checks, if many roles are to be created, whether the account has room
// for them. A caller who may not read the quota can still try.
func (p *Provisioner) checkQuota(ctx context.Context, missing int) error {
	if missing <= 100 {
		return nil
	}
	out, err := p.iam.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
	if err != nil {
		p.notef("%d roles are to be made; whether the account has room for them could not be looked up (iam:GetAccountSummary), and its quota is 1,000 by default", missing)
		return nil
	}
	have, quota := int(out.SummaryMap["Roles"]), int(out.SummaryMap["RolesQuota"])
	if quota > 0 && have+missing > quota {
		return &LimitError{What: "the account", Size: have + missing, Limit: quota, Unit: "roles",
			Instead: "ask for a higher quota (Service Quotas, IAM, Roles per account), or give several datasets one trainer: without --trainer there is one for all"}
	}
	return nil
}

// checkTags checks that the tags of an existing resource leave room for ours.
func (p *Provisioner) checkTags(resource string, tags map[string]string) error {
	if _, ours := tags[TagKey]; ours || len(tags) < maxTags {
		return nil
	}
	return &LimitError{What: resource, Size: len(tags) + 1, Limit: maxTags, Unit: "tags", Instead: "remove one of its tags, or use another"}
}

// TagValue returns the value of the tag [TagKey] for the vault with the given URL. It
// is the URL itself if AWS accepts that as a tag value; otherwise it is the beginning
// of the URL followed by a hash of it.
func TagValue(url string) string {
	if n := len([]rune(url)); n <= maxTagValue && !strings.ContainsFunc(url, noTagRune) && strings.TrimSpace(url) == url {
		return url
	}
	text := []rune(strings.TrimSpace(url))
	for i, r := range text {
		if noTagRune(r) {
			text[i] = '_'
		}
	}
	return string(text[:min(len(text), 200)]) + "@" + hash(url, 16)
}

// noTagRune reports whether AWS does not allow the rune in tags.
func noTagRune(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.In(r, unicode.Z) && !strings.ContainsRune("_.:/=+-@", r)
}

// RoleDescription returns the description of a role with the given purpose.
// Characters that IAM does not accept are escaped as in URLs.
func RoleDescription(purpose string) string {
	var b strings.Builder
	for _, r := range "vaultpack: " + purpose {
		text := string(r)
		if r != '\t' && (r < ' ' || r > '~' && r < 0xa1 || r > 0xff) {
			text = ""
			for _, c := range []byte(string(r)) {
				text += "%" + strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:])
			}
		}
		b.WriteString(text)
	}
	if text := []rune(b.String()); len(text) > maxDescription {
		return string(text[:maxDescription-3]) + "..."
	}
	return b.String()
}
