package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/awserr"
)

// The IDs of the lifecycle rules that are ours.
const (
	abortRule  = "vaultpack-abort-uploads"
	expireRule = "vaultpack-expire-old-versions"
)

// rules are the lifecycle rules of the vault.
func (p *Provisioner) rules() []types.LifecycleRule {
	rule := func(name string) types.LifecycleRule {
		return types.LifecycleRule{ID: aws.String(name), Status: types.ExpirationStatusEnabled,
			Filter: &types.LifecycleRuleFilter{Prefix: aws.String(p.Prefix)}}
	}
	abort := rule(abortRule)
	abort.AbortIncompleteMultipartUpload = &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(p.AbortDays)}
	all := []types.LifecycleRule{abort}
	if p.BucketOnly {
		all = nil // MinIO does this itself, and accepts no rule for it
	}
	if p.ExpireDays > 0 {
		old := rule(expireRule)
		old.NoncurrentVersionExpiration = &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(p.ExpireDays)}
		// The delete marker of an object is removed once its versions are gone.
		old.Expiration = &types.LifecycleExpiration{ExpiredObjectDeleteMarker: aws.Bool(true)}
		all = append(all, old)
	}
	return all
}

func isOurRule(r types.LifecycleRule) bool {
	id := aws.ToString(r.ID)
	return id == abortRule || id == expireRule
}

// RuleScope returns the prefix below which a lifecycle rule applies. If some is
// true, it applies only to some of the objects there.
func RuleScope(r types.LifecycleRule) (prefix string, some bool) {
	f := r.Filter
	if f == nil {
		//lint:ignore SA1019 old rules have it
		return aws.ToString(r.Prefix), false
	}
	if a := f.And; a != nil {
		return aws.ToString(a.Prefix), true
	}
	return aws.ToString(f.Prefix), f.Tag != nil || f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil
}

// RuleThreat describes how a lifecycle rule endangers the objects of a vault below
// the prefix: it deletes them when they reach an age, or moves them to a class from
// which they cannot be read. It returns "" for a harmless rule. Old versions and
// unfinished uploads do not count.
func RuleThreat(r types.LifecycleRule, vaultPrefix string) string {
	prefix, some := RuleScope(r)
	if r.Status != types.ExpirationStatusEnabled || !strings.HasPrefix(prefix, vaultPrefix) && !strings.HasPrefix(vaultPrefix, prefix) {
		return ""
	}
	which := "objects of the vault"
	if some {
		which = "some " + which
	}
	if e := r.Expiration; e != nil && (e.Days != nil || e.Date != nil) {
		return fmt.Sprintf("the lifecycle rule %q deletes %s as they get old, and so datasets are lost", aws.ToString(r.ID), which)
	}
	for _, t := range r.Transitions {
		if t.StorageClass == types.TransitionStorageClassGlacier || t.StorageClass == types.TransitionStorageClassDeepArchive {
			return fmt.Sprintf("the lifecycle rule %q moves %s to %s, from where they cannot be read", aws.ToString(r.ID), which, t.StorageClass)
		}
	}
	return ""
}

// ruleTexts describes what our rules do. A rule of ours that does more has a different text.
func ruleTexts(rules []types.LifecycleRule) string {
	var texts []string
	for _, r := range rules {
		if !isOurRule(r) {
			continue
		}
		var parts []string
		if r.AbortIncompleteMultipartUpload != nil {
			parts = append(parts, fmt.Sprintf("abort uploads after %d days", aws.ToInt32(r.AbortIncompleteMultipartUpload.DaysAfterInitiation)))
		}
		if e := r.NoncurrentVersionExpiration; e != nil {
			text := fmt.Sprintf("expire old versions after %d days", aws.ToInt32(e.NoncurrentDays))
			if e.NewerNoncurrentVersions != nil {
				text += fmt.Sprintf(" but %d", *e.NewerNoncurrentVersions)
			}
			parts = append(parts, text)
		}
		if e := r.Expiration; e != nil && (e.Days != nil || e.Date != nil) {
			parts = append(parts, "expire objects")
		}
		if len(r.Transitions)+len(r.NoncurrentVersionTransitions) > 0 {
			parts = append(parts, "move objects")
		}
		prefix := ""
		if f := r.Filter; f != nil {
			prefix = aws.ToString(f.Prefix)
			if f.And != nil || f.Tag != nil || f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil {
				parts = append(parts, "for some objects")
			}
		}
		if prefix != "" {
			parts = append(parts, "below "+prefix)
		}
		if r.Status != types.ExpirationStatusEnabled {
			parts = append(parts, "switched off")
		}
		texts = append(texts, strings.Join(parts, " "))
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

func (p *Provisioner) lifecycle() property {
	var others []types.LifecycleRule // existing rules that are not ours
	var least types.TransitionDefaultMinimumObjectSize
	return property{
		name: "lifecycle", get: "s3:GetLifecycleConfiguration", put: "s3:PutLifecycleConfiguration",
		read: func(ctx context.Context) (string, error) {
			out, err := p.s3.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
			if is(err, "NoSuchLifecycleConfiguration") {
				return "", nil
			}
			if err != nil && len(p.rules()) == 0 { // it is checked only for threats
				if !awserr.Unimplemented(err) {
					p.notef("%s: its lifecycle rules could not be looked at: %v", p.bucketResource(), Explain(err, "s3:GetLifecycleConfiguration", p.bucketResource()))
				}
				return "", nil
			}
			if err != nil {
				return "", err
			}
			others = nil
			for _, r := range out.Rules {
				if isOurRule(r) {
					continue
				}
				others = append(others, r)
				if threat := RuleThreat(r, p.Prefix); threat != "" {
					p.warnf("%s: %s; it is not vaultpack's and stays: remove it, or have its prefix leave the vault out", p.bucketResource(), threat)
				}
			}
			if n := len(others) + len(p.rules()); n > maxRules {
				return "", &LimitError{What: "the lifecycle of " + p.bucketResource(), Size: n, Limit: maxRules, Unit: "rules", Instead: "remove some, or use another bucket"}
			}
			least = out.TransitionDefaultMinimumObjectSize
			return ruleTexts(out.Rules), nil
		},
		want: func() string { return ruleTexts(p.rules()) },
		write: func(ctx context.Context) error {
			if len(others)+len(p.rules()) == 0 {
				_, err := p.s3.DeleteBucketLifecycle(ctx, &s3.DeleteBucketLifecycleInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
				return err
			}
			_, err := p.s3.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner(),
				TransitionDefaultMinimumObjectSize: least,
				LifecycleConfiguration:             &types.BucketLifecycleConfiguration{Rules: slices.Concat(others, p.rules())}})
			return err
		},
	}
}
