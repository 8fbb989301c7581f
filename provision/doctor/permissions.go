package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/vaultpack/vaultpack/internal/arn"
	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/provision/policy"
)

// A simulated request is one that a training job makes, or must not be able to make.
type simulated struct {
	action, resource string
	context          map[string]string
	needed           bool // if false, the request must be denied
}

func (s simulated) String() string { return s.action + " on " + s.resource }

// permissions asks IAM whether the role's policies allow what a job on the dataset needs, and
// deny what it must not do. For roles, IAM does not simulate the policies of keys and buckets.
func (d *doctor) permissions(ctx context.Context) Finding {
	switch {
	case d.Role == "":
		return skipped("set the role of training jobs with --role ARN")
	case d.elsewhere:
		return skipped("the vault is not in AWS, and SageMaker reads its data only from there")
	case d.Dataset == "":
		return skipped("name the dataset that its jobs read with --dataset NAME")
	}
	var missing, excess []string
	all := d.requestsOfJobs()
	for _, group := range byContext(all) {
		allowed, err := d.asks(ctx, group)
		if code := awserr.Code(err); code == "NoSuchEntity" || code == "NoSuchEntityException" {
			return failed("create it with: vaultpack init", "there is no role %s in this account", d.Role)
		} else if err != nil {
			return unseen(err, "iam:SimulatePrincipalPolicy", d.Role)
		}
		for i, r := range group {
			switch {
			case r.needed && !allowed[i]:
				missing = append(missing, r.String())
			case !r.needed && allowed[i]:
				excess = append(excess, r.String())
			}
		}
	}
	const fix = "give the role the policy of: vaultpack policy --for trainer"
	switch {
	case len(missing) > 0:
		return failed(fix+" --dataset "+d.Dataset, "a job on %s needs what its policies do not allow: %s", d.Dataset, strings.Join(missing, ", "))
	case len(excess) > 0:
		return failed(fix+", and nothing else that reaches the vault", "its policies allow what no job needs: %s", strings.Join(excess, ", "))
	}
	return ok("its policies allow what a job on %s needs, and none of %d requests that it must not make; those of the key and the bucket IAM does not simulate for a role", d.Dataset, len(all)-needed(all))
}

func needed(all []simulated) (n int) {
	for _, r := range all {
		if r.needed {
			n++
		}
	}
	return n
}

// requestsOfJobs returns the requests of a job on the dataset, as vaultpack train starts it by
// default.
func (d *doctor) requestsOfJobs() (all []simulated) {
	a, _ := arn.ParseKey(d.sseKey)
	partition, region := "aws", d.aws.Region
	if a.Partition != "" {
		partition, region = a.Partition, a.Region
	}
	bucket := arn.Bucket(partition, d.loc.Bucket)
	own := bucket + "/" + d.loc.Prefix
	set, jobs := own+d.Dataset+"/", own+"_vaultpack/jobs/"+d.Dataset+"/job/"
	tls := map[string]string{"aws:SecureTransport": "true"}
	ask := func(need bool, action string, context map[string]string, resources ...string) {
		for _, r := range resources {
			all = append(all, simulated{action, r, context, need})
		}
	}
	const id = "0000000000000000000000000000000000000000000000000000000000000000"
	ask(true, "s3:GetObject", tls, set+"packs/"+id+".vpk", set+"index/"+id+".vpk", set+"versions/0000000001.vpk", set+"keys/"+id[:32]+".json",
		own+"_vaultpack/bin/"+id+"/vaultpack", own+"_vaultpack/manifests/"+id+".manifest", jobs+"source/sourcedir.tar.gz", jobs+"signing.vpk")
	output := jobs + "output/model.tar.gz"
	if len(d.Outputs) > 0 {
		output = arn.Bucket(partition, strings.TrimSuffix(strings.TrimPrefix(d.Outputs[0], "s3://"), "/")) + "/job/output/model.tar.gz"
	}
	ask(true, "s3:PutObject", tls, output)
	ask(false, "s3:PutObject", tls, set+"packs/"+id+".vpk", set+"versions/0000000002.vpk", set+"keys/"+id[:32]+".json",
		own+"_vaultpack/bin/"+id+"/vaultpack", own+"_vaultpack/manifests/"+id+".manifest", jobs+"source/sourcedir.tar.gz", jobs+"launch.json")
	ask(false, "s3:DeleteObject", tls, set+"packs/"+id+".vpk", set+"versions/0000000001.vpk", jobs+"launch.json")
	ask(true, "s3:ListBucket", with(tls, "s3:prefix", d.loc.Prefix+d.Dataset+"/packs/"), bucket)
	ask(false, "s3:PutBucketPolicy", tls, bucket)
	dataKey := with(nil, "kms:EncryptionContext:"+policy.ContextDataset, d.Dataset)
	for _, key := range slices.Sorted(maps.Values(d.arns)) {
		ask(true, "kms:Decrypt", dataKey, key)
		ask(false, "kms:GenerateDataKey", dataKey, key)
		ask(false, "kms:Encrypt", dataKey, key)
		ask(false, "kms:ReEncryptFrom", dataKey, key)
		ask(false, "kms:Decrypt", with(nil, "aws:SecureTransport", "true"), key)
		ask(false, "kms:PutKeyPolicy", tls, key)
	}
	if d.sseKey != "" {
		viaS3 := with(with(nil, "kms:ViaService", "s3."+region+".amazonaws.com"), "kms:EncryptionContext:aws:s3:arn", bucket)
		ask(true, "kms:Decrypt", viaS3, d.sseKey)
		ask(true, "kms:GenerateDataKey", viaS3, d.sseKey)
		ask(false, "kms:CreateGrant", with(nil, "kms:GrantIsForAWSResource", "false"), d.sseKey)
	}
	return all
}

func with(m map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	maps.Copy(out, m)
	return out
}

// byContext groups requests that one simulation can answer: those with the same action and
// context.
func byContext(all []simulated) (groups [][]simulated) {
	at := map[string]int{}
	for _, r := range all {
		name := fmt.Sprint(r.action, r.context)
		i, seen := at[name]
		if !seen {
			i = len(groups)
			at[name], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}

// simulate asks IAM about requests with the same action and context.
func (d *doctor) simulate(ctx context.Context, group []simulated) (allowed []bool, err error) {
	in := &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &d.Role, ActionNames: []string{group[0].action}}
	for _, k := range slices.Sorted(maps.Keys(group[0].context)) {
		in.ContextEntries = append(in.ContextEntries, types.ContextEntry{ContextKeyName: aws.String(k), ContextKeyType: types.ContextKeyTypeEnumString, ContextKeyValues: []string{group[0].context[k]}})
	}
	for _, r := range group {
		in.ResourceArns = append(in.ResourceArns, r.resource)
	}
	found := map[string]types.PolicyEvaluationDecisionType{}
	for pages := iam.NewSimulatePrincipalPolicyPaginator(d.iam, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, e := range page.EvaluationResults {
			found[aws.ToString(e.EvalResourceName)] = e.EvalDecision
			for _, r := range e.ResourceSpecificResults {
				found[aws.ToString(r.EvalResourceName)] = r.EvalResourceDecision
			}
		}
	}
	for _, r := range group {
		decision, told := found[r.resource]
		if !told {
			return nil, fmt.Errorf("IAM's simulation says nothing of %s", r)
		}
		allowed = append(allowed, decision == types.PolicyEvaluationDecisionTypeAllowed)
	}
	return allowed, nil
}
