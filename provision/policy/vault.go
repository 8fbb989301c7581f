package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/internal/arn"
)

// ContextDataset is the name of the pair in the encryption context that names
// the dataset of a data key, as package envelope writes it.
const ContextDataset = "vaultpack:dataset"

// A Vault describes a vault in S3 for policies.
type Vault struct {
	// Bucket is the bucket's name. Prefix is empty or ends in "/".
	Bucket, Prefix string
	// KeyARN is the ARN of the KMS key for data keys and for the bucket.
	// Partition, Region and account are taken from it.
	KeyARN string
}

// Check returns an error if the description is invalid.
func (v Vault) Check() error {
	if v.Bucket == "" || strings.ContainsAny(v.Bucket, "/*?:$") {
		return fmt.Errorf("%q is not the name of a bucket", v.Bucket)
	}
	if v.Prefix != "" && !strings.HasSuffix(v.Prefix, "/") {
		return fmt.Errorf("the prefix %q does not end in /", v.Prefix)
	}
	// In a policy these are wildcards and variables, and would change its meaning.
	if strings.ContainsAny(v.Prefix, "*?$") {
		return fmt.Errorf("the prefix %q holds one of *?$, which policies read as patterns; use another prefix", v.Prefix)
	}
	if !arn.IsKey(v.KeyARN) {
		return fmt.Errorf("%q is not the ARN of a KMS key, such as arn:aws:kms:eu-central-1:111122223333:key/…", v.KeyARN)
	}
	return nil
}

// key returns the parts of the key's ARN.
func (v Vault) key() arn.Key {
	k, _ := arn.ParseKey(v.KeyARN)
	return k
}

func (v Vault) partition() string { return v.key().Partition }
func (v Vault) region() string    { return v.key().Region }
func (v Vault) account() string   { return v.key().Account }

// bucketARN returns the ARN of the bucket.
func (v Vault) bucketARN() string { return arn.Bucket(v.partition(), v.Bucket) }

// objects returns the ARNs of the objects in the vault that the patterns name.
func (v Vault) objects(patterns ...string) []string {
	var arns []string
	for _, p := range patterns {
		arns = append(arns, v.bucketARN()+"/"+v.Prefix+p)
	}
	return arns
}

// inDatasets returns the patterns of the datasets' objects in the folders; no
// datasets means all, and no folders means any.
func inDatasets(datasets []string, folders ...string) []string {
	if len(datasets) == 0 {
		datasets = []string{"*"}
	}
	if len(folders) == 0 {
		folders = []string{""}
	}
	var patterns []string
	for _, d := range datasets {
		for _, f := range folders {
			patterns = append(patterns, d+"/"+f+"*")
		}
	}
	return patterns
}

// folders are the folders of a dataset. Objects in other folders, and below
// _vaultpack/, do not belong to a dataset, even in a policy for all datasets.
var folders = []string{"keys/", "versions/", "index/", "packs/", "pending/", "plans/"}

// inDatasetsOnly excludes what belongs to no dataset from a listing of all of them.
func (v Vault) inDatasetsOnly(s Statement) Statement {
	s.Condition = merge([]Conditions{s.Condition, when("StringNotLike", "s3:prefix", v.Prefix+"_vaultpack/*")})
	return s
}

// ofJobs returns the patterns of what belongs to the training jobs on the datasets.
func ofJobs(datasets []string, below string) []string {
	var patterns []string
	for _, p := range inDatasets(datasets) {
		patterns = append(patterns, "_vaultpack/jobs/"+p+below)
	}
	return patterns
}

// listing allows listing what the patterns name. An S3 listing is an action on the
// bucket; only the condition limits it to a part.
func (v Vault) listing(actions []string, patterns ...string) Statement {
	var prefixes []string
	for _, p := range patterns {
		prefixes = append(prefixes, v.Prefix+p)
	}
	return allow("VaultpackList", actions, []string{v.bucketARN()}, when("StringLike", "s3:prefix", prefixes...))
}

// dataKeys allows the actions on the data keys of the datasets: vaultpack's own
// calls to KMS.
func (v Vault) dataKeys(sid string, datasets []string, actions ...string) Statement {
	key := "kms:EncryptionContext:" + ContextDataset
	if len(datasets) == 0 {
		return allow(sid, actions, []string{v.KeyARN}, when("Null", key, "false"))
	}
	return allow(sid, actions, []string{v.KeyARN}, when("StringEquals", key, datasets...))
}

// throughS3 allows the actions when S3 performs them for the caller (SSE-KMS), on
// objects of the vault and of the other ARNs.
func (v Vault) throughS3(sid string, others []string, actions ...string) Statement {
	// The bucket for objects with a bucket key, the object for others.
	arns := append(v.buckets(others), v.bucketARN()+"/"+v.Prefix+"*")
	for _, o := range others {
		if !slices.Contains(arns, o) {
			arns = append(arns, o)
		}
	}
	return allow(sid, actions, []string{v.KeyARN}, when("StringEquals", "kms:ViaService", v.service("s3")...),
		when("StringLike", "kms:EncryptionContext:aws:s3:arn", arns...))
}

// inKeyPolicy is like throughS3, for the key's policy, where conditions contain no
// patterns: Security Hub considers a key public if its policy has one (KMS.5). So
// it covers objects with a bucket key, which vaultpack requests and the bucket uses
// by default.
func (v Vault) inKeyPolicy(s Statement, others []string) Statement {
	if s.Condition["StringLike"] == nil {
		return s
	}
	s.Condition = merge([]Conditions{when("StringEquals", "kms:ViaService", v.service("s3")...),
		when("StringEquals", "kms:EncryptionContext:aws:s3:arn", v.buckets(others)...)})
	return s
}

// buckets returns the ARNs of the vault's bucket and of the objects' buckets.
func (v Vault) buckets(objects []string) []string {
	arns := []string{v.bucketARN()}
	for _, o := range objects {
		if bucket, _, _ := strings.Cut(o, "/"); !slices.Contains(arns, bucket) {
			arns = append(arns, bucket)
		}
	}
	return arns
}

// service returns the name of a service as used in kms:ViaService. In China it may
// have either suffix.
func (v Vault) service(name string) []string {
	names := []string{name + "." + v.region() + ".amazonaws.com"}
	if v.partition() == "aws-cn" {
		names = append(names, names[0]+".cn")
	}
	return names
}
