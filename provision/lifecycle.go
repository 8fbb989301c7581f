package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// ourRule begins the IDs of the lifecycle rules that are ours.
const ourRule = "vaultpack-"

// rules are the lifecycle rules of the vault.
func (p *Provisioner) rules() []types.LifecycleRule {
	rule := func(name string) types.LifecycleRule {
		return types.LifecycleRule{ID: aws.String(ourRule + name), Status: types.ExpirationStatusEnabled,
			Filter: &types.LifecycleRuleFilter{Prefix: aws.String(p.Prefix)}}
	}
	abort := rule("abort-uploads")
	abort.AbortIncompleteMultipartUpload = &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(p.AbortDays)}
	all := []types.LifecycleRule{abort}
	if p.BucketOnly {
		all = nil // MinIO does so by itself, and takes no rule for it
	}
	if p.ExpireDays > 0 {
		old := rule("expire-old-versions")
		old.NoncurrentVersionExpiration = &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(p.ExpireDays)}
		// The marker of a deleted object goes when its versions are gone.
		old.Expiration = &types.LifecycleExpiration{ExpiredObjectDeleteMarker: aws.Bool(true)}
		all = append(all, old)
	}
	return all
}

func isOurRule(r types.LifecycleRule) bool { return strings.HasPrefix(aws.ToString(r.ID), ourRule) }

// ruleTexts say what our rules do. A rule of ours that does more is another text.
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
	var others []types.LifecycleRule
	var least types.TransitionDefaultMinimumObjectSize
	return property{
		name: "lifecycle", get: "s3:GetLifecycleConfiguration", put: "s3:PutLifecycleConfiguration",
		read: func(ctx context.Context) (string, error) {
			out, err := p.s3.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner()})
			if is(err, "NoSuchLifecycleConfiguration") {
				return "", nil
			}
			if err != nil {
				return "", err
			}
			for _, r := range out.Rules {
				if isOurRule(r) {
					continue
				}
				others = append(others, r)
				if r.Status == types.ExpirationStatusEnabled && r.Expiration != nil {
					p.notef("%s: the lifecycle rule %s is not vaultpack's and stays; if it deletes objects of the vault, their datasets are lost", p.bucketResource(), aws.ToString(r.ID))
				}
			}
			least = out.TransitionDefaultMinimumObjectSize
			return ruleTexts(out.Rules), nil
		},
		want: func() string { return ruleTexts(p.rules()) },
		write: func(ctx context.Context) error {
			_, err := p.s3.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{Bucket: &p.Bucket, ExpectedBucketOwner: p.owner(),
				TransitionDefaultMinimumObjectSize: least,
				LifecycleConfiguration:             &types.BucketLifecycleConfiguration{Rules: append(others, p.rules()...)}})
			return err
		},
	}
}
