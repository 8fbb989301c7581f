package policy_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/iamtest"
	"github.com/vaultpack/vaultpack/provision/policy"
)

const (
	account  = "111122223333"
	stranger = "444455556666"
	key      = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	signKey  = "arn:aws:kms:eu-central-1:111122223333:key/eeeeeeee-12ab-34cd-56ef-1234567890ab"
	otherKey = "arn:aws:kms:eu-central-1:111122223333:key/ffffffff-12ab-34cd-56ef-1234567890ab"
	rawKey   = "arn:aws:kms:eu-central-1:111122223333:key/dddddddd-12ab-34cd-56ef-1234567890ab"
	bucket   = "arn:aws:s3:::data"
	raw      = "arn:aws:s3:::raw" // which data is uploaded from
	logs     = "arn:aws:logs:eu-central-1:111122223333:log-group:/aws/sagemaker/TrainingJobs:log-stream:job/algo-1"
)

var ml = policy.Vault{Bucket: "data", Prefix: "ml/", KeyARN: key}

func role(name string) string { return "arn:aws:iam::" + account + ":role/" + name }

// who are the principals of the tables, by the letter that stands for each.
var who = map[string]string{
	"u": role("uploader"),   // of all datasets
	"a": role("uploader-a"), // of dataset scans, with Resume and Tags
	"q": role("worker"),     // of a plan of dataset scans
	"t": role("trainer"),    // of all datasets, its output below the vault
	"s": role("trainer-s"),  // of dataset scans, with volumes and a VPC, its output in a bucket of its own
	"r": role("reader"),     // of all datasets
	"f": role("reader-f"),   // of dataset faces
	"w": role("user"),       // a user of the key, who is allowed all of S3 by IAM
	"k": role("key-admin"),  // an admin of the key, who is allowed nothing by IAM
	"p": role("power"),      // allowed everything by IAM, and nothing by the key
	"o": "arn:aws:iam::" + account + ":root",
	"x": "arn:aws:iam::" + stranger + ":role/x", // of another account, where it may everything
	"m": "sagemaker.amazonaws.com",
}

func world(t *testing.T) *iamtest.World {
	t.Helper()
	parse := func(text string) *iamtest.Policy {
		t.Helper()
		p, err := iamtest.Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		return p
	}
	all := parse(`{"Version":"2012-10-17","Statement":[{"Sid":"All","Effect":"Allow","Action":"*","Resource":"*"}]}`)
	onlyS3 := parse(`{"Version":"2012-10-17","Statement":[{"Sid":"S3","Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)

	up := policy.Uploader{}
	upA := policy.Uploader{Datasets: []string{"scans"}, Resume: true, Tags: true, SigningKey: signKey}
	train := policy.Trainer{Outputs: []string{"s3://data/ml-models/"}}
	trainS := policy.Trainer{Datasets: []string{"scans"}, Volumes: true, VPC: true, Outputs: []string{"s3://models/runs"},
		Repositories: []string{"arn:aws:ecr:eu-central-1:111122223333:repository/train"}}
	read, readF := policy.Reader{}, policy.Reader{Datasets: []string{"faces"}}
	w := &iamtest.World{Account: account, Identities: map[string][]*iamtest.Policy{}, Resources: map[string]*iamtest.Policy{}}
	for letter, d := range map[string]policy.Document{"u": ml.Uploader(up), "a": ml.Uploader(upA), "t": ml.Trainer(train),
		"s": ml.Trainer(trainS), "r": ml.Reader(read), "f": ml.Reader(readF), "q": ml.Worker(policy.Worker{Datasets: []string{"scans"}, SigningKey: signKey})} {
		switch letter {
		case "u":
			d = ml.WithSource(d, policy.Source{Bucket: "raw", Prefix: "in/", KeyARN: rawKey})
		case "q":
			d = ml.WithPlannedSource(d, policy.Source{Bucket: "raw", Prefix: "in/", KeyARN: rawKey})
		}
		w.Identities[who[letter]] = []*iamtest.Policy{parse(d.JSON())}
		if n := len(d.JSON()); n > 6144 { // of managed policies; inline ones have 10240 in all
			t.Errorf("the policy of %s has %d characters", who[letter], n)
		}
	}
	w.Identities[who["w"]] = []*iamtest.Policy{onlyS3}
	w.Identities[who["p"]] = []*iamtest.Policy{all}
	w.Identities[who["x"]] = []*iamtest.Policy{all}
	w.Resources[key] = parse(ml.KeyPolicy(policy.Access{
		Admins:    []string{who["k"]},
		Users:     []string{who["w"]},
		Uploaders: []policy.UploaderAccess{{Principal: who["u"], Uploader: up}, {Principal: who["a"], Uploader: upA}},
		Trainers:  []policy.TrainerAccess{{Principal: who["q"], Trainer: policy.Trainer{Datasets: []string{"scans"}}}, {Principal: who["t"], Trainer: train}, {Principal: who["s"], Trainer: trainS}},
		Readers:   []policy.ReaderAccess{{Principal: who["r"], Reader: read}, {Principal: who["f"], Reader: readF}},
	}).JSON())
	w.Resources[signKey] = parse(`{"Version":"2012-10-17","Statement":[{"Sid":"Default","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account + `:root"},"Action":"kms:*","Resource":"*"}]}`)
	w.Resources[otherKey] = parse(`{"Version":"2012-10-17","Statement":[{"Sid":"Default","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account + `:root"},"Action":"kms:*","Resource":"*"}]}`)
	w.Resources[rawKey] = w.Resources[otherKey]
	w.Resources[bucket] = parse(ml.BucketPolicy().JSON())
	w.Resources[who["t"]] = parse(ml.TrainerTrust().JSON())
	w.Resources[who["u"]] = parse(policy.Trust("arn:aws:iam::" + account + ":root").JSON())
	return w
}

type ctx map[string]string

// and joins the pairs of contexts.
func (c ctx) and(others ...ctx) ctx {
	out := maps.Clone(c)
	for _, o := range others {
		maps.Copy(out, o)
	}
	return out
}

var (
	tls      = ctx{"aws:SecureTransport": "true"}
	noTLS    = ctx{"aws:SecureTransport": "false"}
	scans    = ctx{"kms:EncryptionContext:vaultpack:dataset": "scans", "kms:EncryptionContext:vaultpack:key-id": "00"}
	faces    = ctx{"kms:EncryptionContext:vaultpack:dataset": "faces", "kms:EncryptionContext:vaultpack:key-id": "00"}
	viaS3    = ctx{"kms:ViaService": "s3.eu-central-1.amazonaws.com"}
	ofBucket = viaS3.and(ctx{"kms:EncryptionContext:aws:s3:arn": bucket})
	ofPack   = viaS3.and(ctx{"kms:EncryptionContext:aws:s3:arn": bucket + "/ml/scans/packs/1.vpk"})
	ofModel  = viaS3.and(ctx{"kms:EncryptionContext:aws:s3:arn": bucket + "/elsewhere/x"})
	ofVolume = ctx{"kms:ViaService": "sagemaker.eu-central-1.amazonaws.com", "kms:GrantIsForAWSResource": "true"}
	byBucket = viaS3.and(ctx{"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::stolen"})
)

func list(prefix string) ctx { return tls.and(ctx{"s3:prefix": prefix}) }

// sse is what a PUT says of server-side encryption; of an empty one, nothing.
func sse(algorithm, key string) ctx {
	c := tls.and()
	if algorithm != "" {
		c["s3:x-amz-server-side-encryption"] = algorithm
	}
	if key != "" {
		c["s3:x-amz-server-side-encryption-aws-kms-key-id"] = key
	}
	return c
}

// What each principal may do and what not: a row for each request, and the letters
// of those who may. All others may not.
func TestPolicies(t *testing.T) {
	w := world(t)
	o := func(name string) string { return bucket + "/ml/" + name }
	tests := []struct {
		what, action, resource string
		ctx                    ctx
		may                    string
	}{
		// Writing, as vaultpack does it.
		{"put a pack", "s3:PutObject", o("scans/packs/1.vpk"), sse("aws:kms", key), "quawpo"},
		{"put a pack of another dataset", "s3:PutObject", o("faces/packs/1.vpk"), sse("aws:kms", key), "uwpo"},
		{"put a keyring", "s3:PutObject", o("scans/keys/00.json"), sse("aws:kms", key), "uawpo"},
		{"put a version", "s3:PutObject", o("scans/versions/0000000001.vpk"), sse("aws:kms", key), "uawpo"},
		{"put a record of an unfinished upload", "s3:PutObject", o("scans/pending/u/1.vpk"), sse("aws:kms", key), "uawpo"},
		{"put a pack and rely on the bucket's default", "s3:PutObject", o("scans/packs/1.vpk"), sse("", ""), "quawpo"},
		{"put a pack with tags", "s3:PutObjectTagging", o("scans/packs/1.vpk"), tls, "awpo"},
		{"abort an upload", "s3:AbortMultipartUpload", o("scans/packs/1.vpk"), tls, "quawpo"},
		{"list unfinished uploads", "s3:ListBucketMultipartUploads", bucket, list("ml/scans/"), "uawpo"},
		{"list unfinished uploads of the whole bucket", "s3:ListBucketMultipartUploads", bucket, tls, "wpo"},
		{"forget an unfinished upload", "s3:DeleteObject", o("scans/pending/u/1.vpk"), tls, "uawpo"},
		{"forget one of another dataset", "s3:DeleteObject", o("faces/pending/u/1.vpk"), tls, "uwpo"},

		// A worker of a plan.
		{"put a record of a worker", "s3:PutObject", o("scans/plans/p/00000/00000001.vpk"), sse("aws:kms", key), "uaqwpo"},
		{"put one of another dataset", "s3:PutObject", o("faces/plans/p/00000/00000001.vpk"), sse("aws:kms", key), "uwpo"},
		{"get a plan", "s3:GetObject", o("scans/plans/p/plan.vpk"), tls, "uarqwpo"},
		{"delete a plan", "s3:DeleteObject", o("scans/plans/p/plan.vpk"), tls, "wpo"},
		{"list a plan", "s3:ListBucket", bucket, list("ml/scans/plans/p/"), "uatsrwpo"},

		// Reading what is uploaded from a bucket.
		{"list a source", "s3:ListBucket", raw, list("in/"), "uwpo"},
		{"list the versions in a source", "s3:ListBucketVersions", raw, list("in/"), "uwpo"},
		{"list the bucket of a source", "s3:ListBucket", raw, tls, "wpo"},
		{"list beside a source", "s3:ListBucket", raw, list("input/"), "wpo"},
		{"ask whether a source keeps versions", "s3:GetBucketVersioning", raw, tls, "uwpo"},
		{"read an object of a source", "s3:GetObject", raw + "/in/a", tls, "quwpo"},
		{"read a version of one", "s3:GetObjectVersion", raw + "/in/a", tls, "quwpo"},
		{"read an object beside a source", "s3:GetObject", raw + "/input/a", tls, "wpo"},
		{"write to a source", "s3:PutObject", raw + "/in/a", tls, "wpo"},
		{"delete from a source", "s3:DeleteObject", raw + "/in/a", tls, "wpo"},
		{"S3 opens an object of a source", "kms:Decrypt", rawKey, viaS3, "qupo"},
		{"open it without S3", "kms:Decrypt", rawKey, ctx{}, "po"},

		// Writing as nobody may, whatever IAM says.
		{"put with another key", "s3:PutObject", o("scans/packs/1.vpk"), sse("aws:kms", otherKey), ""},
		{"put with AES256", "s3:PutObject", o("scans/packs/1.vpk"), sse("AES256", ""), ""},
		{"put with DSSE", "s3:PutObject", o("scans/packs/1.vpk"), sse("aws:kms:dsse", key), ""},
		{"put with KMS and no key, which is aws/s3", "s3:PutObject", o("scans/packs/1.vpk"), sse("aws:kms", ""), ""},
		{"put with a key of the caller's", "s3:PutObject", o("scans/packs/1.vpk"), sse("", "").and(ctx{"s3:x-amz-server-side-encryption-customer-algorithm": "AES256"}), ""},
		{"put without TLS", "s3:PutObject", o("scans/packs/1.vpk"), sse("aws:kms", key).and(noTLS), ""},
		{"get without TLS", "s3:GetObject", o("scans/packs/1.vpk"), noTLS, ""},
		{"list without TLS", "s3:ListBucket", bucket, list("ml/scans/").and(noTLS), ""},
		{"read the bucket's policy without TLS", "s3:GetBucketPolicy", bucket, noTLS, ""},

		// Removing and spoiling.
		{"delete a pack", "s3:DeleteObject", o("scans/packs/1.vpk"), tls, "wpo"},
		{"delete a version of the dataset", "s3:DeleteObject", o("scans/versions/0000000001.vpk"), tls, "wpo"},
		{"delete a keyring", "s3:DeleteObject", o("scans/keys/00.json"), tls, "wpo"},
		{"delete an old version of an object", "s3:DeleteObjectVersion", o("scans/packs/1.vpk"), tls, "wpo"},
		{"put below another prefix", "s3:PutObject", bucket + "/other/x", sse("aws:kms", key), "wpo"},
		{"put into another bucket", "s3:PutObject", "arn:aws:s3:::elsewhere/ml/scans/packs/1.vpk", sse("aws:kms", key), "wpo"},
		{"change the bucket's policy", "s3:PutBucketPolicy", bucket, tls, "wpo"},
		{"change the bucket's encryption", "s3:PutEncryptionConfiguration", bucket, tls, "wpo"},
		{"make an object public", "s3:PutObjectAcl", o("scans/packs/1.vpk"), tls, "wpo"},
		{"stop versioning", "s3:PutBucketVersioning", bucket, tls, "wpo"},

		// Reading objects.
		{"get a pack", "s3:GetObject", o("scans/packs/1.vpk"), tls, "quatsrwpo"},
		{"get a pack of another dataset", "s3:GetObject", o("faces/packs/1.vpk"), tls, "utrfwpo"},
		{"get a keyring", "s3:GetObject", o("scans/keys/00.json"), tls, "quatsrwpo"},
		{"get an index part", "s3:GetObject", o("scans/index/1.vpk"), tls, "quatsrwpo"},
		{"get a version", "s3:GetObject", o("scans/versions/0000000001.vpk"), tls, "quatsrwpo"},
		{"get a record of an unfinished upload", "s3:GetObject", o("scans/pending/u/1.vpk"), tls, "uarwpo"},
		{"get a dataset whose name begins the same", "s3:GetObject", o("scans-2/packs/1.vpk"), tls, "utrwpo"},
		{"get an old version of an object", "s3:GetObjectVersion", o("scans/packs/1.vpk"), tls, "wpo"},
		{"get the binary", "s3:GetObject", o("_vaultpack/bin/00/vaultpack"), tls, "tswpo"},
		{"get a manifest", "s3:GetObject", o("_vaultpack/manifests/00.manifest"), tls, "tswpo"},
		{"get a job's source", "s3:GetObject", o("_vaultpack/jobs/scans/j/source/sourcedir.tar.gz"), tls, "tswpo"},
		{"get the source of a job on another dataset", "s3:GetObject", o("_vaultpack/jobs/faces/j/source/sourcedir.tar.gz"), tls, "twpo"},
		{"get the source of a job on a dataset whose name begins the same", "s3:GetObject", o("_vaultpack/jobs/scans-2/j/source/sourcedir.tar.gz"), tls, "twpo"},
		{"get a job's model", "s3:GetObject", o("_vaultpack/jobs/scans/j/output/model.tar.gz"), tls, "tswpo"},
		{"get the model of a job on another dataset", "s3:GetObject", o("_vaultpack/jobs/faces/j/output/model.tar.gz"), tls, "twpo"},
		{"get a job's signing key", "s3:GetObject", o("_vaultpack/jobs/scans/j/signing.vpk"), tls, "tswpo"},
		{"get the key of a job's sealed model", "s3:GetObject", o("_vaultpack/jobs/scans/j/model.vpk"), tls, "tswpo"},
		{"get the key of a sealed model of a job on another dataset", "s3:GetObject", o("_vaultpack/jobs/faces/j/model.vpk"), tls, "twpo"},
		{"get which version a job has seen", "s3:GetObject", o("_vaultpack/jobs/scans/j/launch.json"), tls, "tsrwpo"},
		{"get which version a job on another dataset has seen", "s3:GetObject", o("_vaultpack/jobs/faces/j/launch.json"), tls, "trfwpo"},
		{"get below another prefix", "s3:GetObject", bucket + "/other/packs/1.vpk", tls, "wpo"},
		{"list a dataset", "s3:ListBucket", bucket, list("ml/scans/versions/"), "uatsrwpo"},
		{"list another dataset", "s3:ListBucket", bucket, list("ml/faces/versions/"), "utrfwpo"},
		{"list the datasets", "s3:ListBucket", bucket, list("ml/"), "rwpo"},
		{"list the bucket", "s3:ListBucket", bucket, list(""), "wpo"},
		{"list the bucket with no prefix", "s3:ListBucket", bucket, tls, "wpo"},
		{"list a job's files", "s3:ListBucket", bucket, list("ml/_vaultpack/jobs/scans/j/"), "tsrwpo"},
		{"list where doctor tries the vault", "s3:ListBucket", bucket, list("ml/_vaultpack/pending/"), "utrwpo"},
		{"list all that is no dataset's", "s3:ListBucket", bucket, list("ml/_vaultpack/"), "trwpo"},
		{"list the jobs by the beginning of their folder", "s3:ListBucket", bucket, list("ml/_vaultpack/j"), "trwpo"},
		{"list the jobs on a dataset", "s3:ListBucket", bucket, list("ml/_vaultpack/jobs/scans/"), "tsrwpo"},
		{"list the jobs on another dataset", "s3:ListBucket", bucket, list("ml/_vaultpack/jobs/faces/"), "trfwpo"},
		{"list the jobs on a dataset whose name begins the same", "s3:ListBucket", bucket, list("ml/_vaultpack/jobs/scans-2/"), "trwpo"},
		{"list unfinished uploads of jobs", "s3:ListBucketMultipartUploads", bucket, list("ml/_vaultpack/jobs/scans/"), "wpo"},

		// Data keys: vaultpack's own calls to KMS.
		{"make a data key", "kms:GenerateDataKey", key, scans, "uaw"},
		{"make one for another dataset", "kms:GenerateDataKey", key, faces, "uw"},
		{"make one with no context", "kms:GenerateDataKey", key, ctx{}, ""},
		{"open a data key", "kms:Decrypt", key, scans, "qatsrw"},
		{"open one of another dataset", "kms:Decrypt", key, faces, "trfw"},
		{"open one with no context", "kms:Decrypt", key, ctx{}, ""},
		{"open one of a dataset in other letters", "kms:Decrypt", key, ctx{"kms:EncryptionContext:vaultpack:dataset": "Scans"}, "trw"},
		{"wrap a data key again", "kms:Encrypt", key, scans, "w"},
		{"move a data key from the key", "kms:ReEncryptFrom", key, scans, "w"},
		{"move a data key to the key", "kms:ReEncryptTo", key, scans, "w"},
		{"open a data key of another key", "kms:Decrypt", otherKey, scans, "po"},

		// Signing versions.
		{"sign a version", "kms:Sign", signKey, ctx{}, "qapo"},
		{"read the key that signs", "kms:GetPublicKey", signKey, ctx{}, "qapo"},
		{"sign with another key", "kms:Sign", otherKey, ctx{}, "po"},
		{"sign with the key of the data", "kms:Sign", key, scans, ""},

		// S3's use of the key, for the caller.
		{"S3 opens an object with a bucket key", "kms:Decrypt", key, ofBucket, "quatsrfw"},
		{"S3 opens an object without one", "kms:Decrypt", key, ofPack, ""},
		{"S3 seals an object", "kms:GenerateDataKey", key, ofBucket, "quatsw"},
		{"S3 opens an object elsewhere in the bucket", "kms:Decrypt", key, ofModel, ""},
		{"S3 opens an object of another bucket", "kms:Decrypt", key, byBucket, ""},
		{"S3 seals a model in a bucket of its own", "kms:GenerateDataKey", key, viaS3.and(ctx{"kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::models"}), "s"},
		{"S3 seals a model beside the vault, without a bucket key", "kms:GenerateDataKey", key, viaS3.and(ctx{"kms:EncryptionContext:aws:s3:arn": bucket + "/ml-models/x"}), ""},
		{"the caller itself says that it were S3", "kms:Decrypt", key, ctx{"kms:EncryptionContext:aws:s3:arn": bucket}, ""},
		{"another service uses the key", "kms:Decrypt", key, ofBucket.and(ctx{"kms:ViaService": "dynamodb.eu-central-1.amazonaws.com"}), ""},
		{"S3 in another Region uses the key", "kms:Decrypt", key, ofBucket.and(ctx{"kms:ViaService": "s3.us-east-1.amazonaws.com"}), ""},

		// Managing the key.
		{"schedule the key's deletion", "kms:ScheduleKeyDeletion", key, ctx{}, "k"},
		{"disable the key", "kms:DisableKey", key, ctx{}, "k"},
		{"stop rotation", "kms:DisableKeyRotation", key, ctx{}, "k"},
		{"change the key's policy", "kms:PutKeyPolicy", key, ctx{}, "ko"},
		{"read the key's policy", "kms:GetKeyPolicy", key, ctx{}, "kop"},
		{"describe the key, to find which an alias stands for", "kms:DescribeKey", key, ctx{}, "quarfwkop"},
		{"let SageMaker's volumes use the key", "kms:CreateGrant", key, ofVolume, "s"},
		{"let another service's volumes use the key", "kms:CreateGrant", key, ofVolume.and(ctx{"kms:ViaService": "ec2.eu-central-1.amazonaws.com"}), ""},
		{"let SageMaker's volumes in another Region use the key", "kms:CreateGrant", key, ofVolume.and(ctx{"kms:ViaService": "sagemaker.us-east-1.amazonaws.com"}), ""},
		{"grant the key to a service, and not through SageMaker", "kms:CreateGrant", key, ctx{"kms:GrantIsForAWSResource": "true"}, ""},
		{"grant the key to somebody through SageMaker", "kms:CreateGrant", key, ofVolume.and(ctx{"kms:GrantIsForAWSResource": "false"}), ""},
		{"grant the key, and say nothing", "kms:CreateGrant", key, ctx{}, ""},
		{"make a data key pair", "kms:GenerateDataKeyPair", key, scans, ""},
		{"replicate the key", "kms:ReplicateKey", key, ctx{}, ""},
		{"import key material", "kms:ImportKeyMaterial", key, ctx{}, ""},

		// A training job.
		{"write the model", "s3:PutObject", bucket + "/ml-models/job/output/model.tar.gz", sse("aws:kms", key), "twpo"},
		{"write the model elsewhere", "s3:PutObject", "arn:aws:s3:::models/runs/job/output/model.tar.gz", sse("aws:kms", key), "swpo"},
		{"write the model beside that", "s3:PutObject", "arn:aws:s3:::models/runs-of-others/x", sse("aws:kms", key), "wpo"},
		{"write a checkpoint", "s3:PutObject", o("_vaultpack/jobs/scans/j/checkpoints/1.pt"), sse("aws:kms", key), "tswpo"},
		{"write a checkpoint of a job on another dataset", "s3:PutObject", o("_vaultpack/jobs/faces/j/checkpoints/1.pt"), sse("aws:kms", key), "twpo"},
		{"read it back after a spot restart", "s3:GetObject", o("_vaultpack/jobs/scans/j/checkpoints/1.pt"), tls, "tswpo"},
		{"read the checkpoint of a job on another dataset", "s3:GetObject", o("_vaultpack/jobs/faces/j/checkpoints/1.pt"), tls, "twpo"},
		{"write over a job's source", "s3:PutObject", o("_vaultpack/jobs/scans/j/source/sourcedir.tar.gz"), sse("aws:kms", key), "wpo"},
		{"write over what a job was launched for", "s3:PutObject", o("_vaultpack/jobs/scans/j/launch.json"), sse("aws:kms", key), "wpo"},
		{"write over the program", "s3:PutObject", o("_vaultpack/bin/00/vaultpack"), sse("aws:kms", key), "wpo"},
		{"write over a manifest", "s3:PutObject", o("_vaultpack/manifests/00.manifest"), sse("aws:kms", key), "wpo"},
		{"put what is no part of a dataset", "s3:PutObject", o("scans/else/1"), sse("aws:kms", key), "wpo"},
		{"delete a checkpoint", "s3:DeleteObject", o("_vaultpack/jobs/scans/j/checkpoints/1.pt"), tls, "wpo"},
		{"write into a dataset from a job", "s3:PutObject", o("scans/versions/0000000002.vpk"), sse("aws:kms", key), "uawpo"},
		{"write logs", "logs:PutLogEvents", logs, ctx{}, "tspo"},
		{"write the logs of processing jobs", "logs:PutLogEvents", strings.Replace(logs, "TrainingJobs", "ProcessingJobs", 1), ctx{}, "tspo"},
		{"store an output that a processing job has sealed", "s3:PutObject", o("_vaultpack/jobs/scans/j/output/small/algo-1.vpk"), sse("aws:kms", key), "tswpo"},
		{"write other logs", "logs:PutLogEvents", "arn:aws:logs:eu-central-1:111122223333:log-group:/audit:log-stream:1", ctx{}, "po"},
		{"publish metrics", "cloudwatch:PutMetricData", "*", ctx{"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"}, "tspo"},
		{"publish other metrics", "cloudwatch:PutMetricData", "*", ctx{"cloudwatch:namespace": "Billing"}, "po"},
		{"pull an image of AWS", "ecr:BatchGetImage", "arn:aws:ecr:eu-central-1:763104351884:repository/pytorch-training", ctx{}, "tpo"},
		{"pull an image of one's own", "ecr:BatchGetImage", "arn:aws:ecr:eu-central-1:111122223333:repository/train", ctx{}, "tspo"},
		{"push an image", "ecr:PutImage", "arn:aws:ecr:eu-central-1:111122223333:repository/train", ctx{}, "po"},
		{"log in to pull", "ecr:GetAuthorizationToken", "*", ctx{}, "tspo"},
		{"join a VPC", "ec2:CreateNetworkInterface", "arn:aws:ec2:eu-central-1:111122223333:network-interface/*", ctx{}, "spo"},
		{"start a machine", "ec2:RunInstances", "arn:aws:ec2:eu-central-1:111122223333:instance/*", ctx{}, "po"},
		{"pass a role", "iam:PassRole", who["t"], ctx{}, "po"},

		// Becoming a role.
		{"become the trainer", "sts:AssumeRole", who["t"], ctx{"aws:SourceAccount": account}, "m"},
		{"become the trainer for a job of another account", "sts:AssumeRole", who["t"], ctx{"aws:SourceAccount": stranger}, ""},
		{"become the trainer, and say nothing", "sts:AssumeRole", who["t"], ctx{}, ""},
		{"become the uploader", "sts:AssumeRole", who["u"], ctx{}, "po"},
	}
	rows, seen := 0, map[string]bool{}
	for _, test := range tests {
		rows++
		if seen[test.what] {
			t.Errorf("there are two rows %q", test.what)
		}
		seen[test.what] = true
		for letter, principal := range who {
			want := strings.Contains(test.may, letter)
			got, why := w.Decide(iamtest.Request{Principal: principal, Action: test.action, Resource: test.resource, Context: test.ctx})
			if got != want {
				t.Errorf("%s: %s is allowed: %v (%s), want %v", test.what, principal, got, why, want)
			}
		}
	}
	if rows < 60 {
		t.Errorf("there are %d requests", rows)
	}
}

// The name of the pair in the context is that of package envelope, which the
// builders do not import.
func TestContextName(t *testing.T) {
	if policy.ContextDataset != envelope.ContextDataset {
		t.Errorf("%q, but envelope says %q", policy.ContextDataset, envelope.ContextDataset)
	}
}

// Where no output is named, a job may write its own, and not what belongs to
// jobs: their sources and keys.
func TestDefaultOutput(t *testing.T) {
	for name, want := range map[string]string{ // a for a trainer of all datasets, s for one of scans
		"_vaultpack/jobs/scans/j/output/model.tar.gz":         "as",
		"_vaultpack/jobs/faces/j/output/model.tar.gz":         "a",
		"_vaultpack/jobs/scans-2/j/output/model.tar.gz":       "a",
		"_vaultpack/jobs/scans/j/checkpoints/1.pt":            "as",
		"_vaultpack/jobs/faces/j/checkpoints/1.pt":            "a",
		"_vaultpack/jobs/scans/j/key/local.key":               "",
		"_vaultpack/jobs/scans/j/source/sourcedir.tar.gz":     "",
		"_vaultpack/jobs/scans/j/launch.json":                 "",
		"_vaultpack/jobs/scans/j/signing.vpk":                 "",
		"_vaultpack/jobs/scans/j/model.vpk":                   "",
		"_vaultpack/bin/00/vaultpack":                         "",
		"_vaultpack/manifests/00.manifest":                    "",
		"scans/versions/0000000001.vpk":                       "",
		"scans/_vaultpack/jobs/scans/j/output/model.tar.gz":   "",
		"../elsewhere/_vaultpack/jobs/scans/j/output/model.x": "",
	} {
		for letter, trainer := range map[string]policy.Trainer{"a": {}, "s": {Datasets: []string{"scans"}}} {
			p, err := iamtest.Parse(ml.Trainer(trainer).JSON())
			if err != nil {
				t.Fatal(err)
			}
			w := &iamtest.World{Account: account, Identities: map[string][]*iamtest.Policy{who["t"]: {p}}}
			got, why := w.Decide(iamtest.Request{Principal: who["t"], Action: "s3:PutObject", Resource: bucket + "/ml/" + name, Context: tls})
			if got != strings.Contains(want, letter) {
				t.Errorf("%s: writing %s is %v (%s)", letter, name, got, why)
			}
		}
	}
}

// A key that leaves the decision to IAM, as a key's policy does by default, lets
// the roles do by their own policies what init's key lets them do, and objects
// without a bucket key too. Nothing else.
func TestKeyOfIAM(t *testing.T) {
	w := world(t)
	for what, r := range map[string]struct {
		action string
		ctx    ctx
		may    string
	}{
		"begin a dataset":    {"kms:GenerateDataKey", scans, "uap"},
		"open a data key":    {"kms:Decrypt", scans, "aqtsrp"},
		"open one of others": {"kms:Decrypt", faces, "trfp"},
		"open without S3":    {"kms:Decrypt", ctx{"kms:EncryptionContext:aws:s3:arn": bucket}, "p"},
		"S3, bucket key":     {"kms:Decrypt", ofBucket, "uaqtsrfp"},
		"S3, none":           {"kms:Decrypt", ofPack, "uaqtsrfp"},
		"S3, elsewhere":      {"kms:Decrypt", ofModel, "p"},
		"S3, a model":        {"kms:GenerateDataKey", viaS3.and(ctx{"kms:EncryptionContext:aws:s3:arn": bucket + "/ml-models/x"}), "tp"},
		"delete the key":     {"kms:ScheduleKeyDeletion", ctx{}, "p"},
		"a volume":           {"kms:CreateGrant", ofVolume, "sp"},
	} {
		w.Resources[key] = w.Resources[otherKey]
		for letter, principal := range who {
			if letter == "o" || letter == "x" {
				continue
			}
			want := strings.Contains(r.may, letter)
			if got, why := w.Decide(iamtest.Request{Principal: principal, Action: r.action, Resource: key, Context: r.ctx}); got != want {
				t.Errorf("%s: %s is allowed: %v (%s), want %v", what, principal, got, why, want)
			}
		}
	}
}

// Security Hub takes a key for public whose policy names everybody, or has a
// pattern in a condition.
func TestKeyPolicyIsFixed(t *testing.T) {
	d := ml.KeyPolicy(policy.Access{Admins: []string{who["k"]}, Users: []string{who["w"]},
		Uploaders: []policy.UploaderAccess{{Principal: who["u"]}},
		Trainers:  []policy.TrainerAccess{{Principal: who["t"], Trainer: policy.Trainer{Outputs: []string{"s3://models/runs"}, Volumes: true}}},
		Readers:   []policy.ReaderAccess{{Principal: who["r"]}}})
	if len(d.Statement) < 8 {
		t.Errorf("there are %d statements", len(d.Statement))
	}
	for _, s := range d.Statement {
		for _, arn := range s.Principal.AWS {
			if strings.Contains(arn, "*") {
				t.Errorf("%s is for %s", s.Sid, arn)
			}
		}
		for op, keys := range s.Condition {
			for key, values := range keys {
				for _, v := range values {
					if strings.ContainsAny(v, "*?$") {
						t.Errorf("%s has %s %s: %s", s.Sid, op, key, v)
					}
				}
			}
		}
		if len(s.Principal.AWS) == 0 {
			t.Errorf("%s is for everybody", s.Sid)
		}
	}
}

// Before the key is made, its policy lets the admins continue, and nobody use it.
func TestFirstKeyPolicy(t *testing.T) {
	d := policy.FirstKeyPolicy("aws", account, []string{who["k"]})
	p, err := iamtest.Parse(d.JSON())
	if err != nil {
		t.Fatal(err)
	}
	w := &iamtest.World{Account: account, Resources: map[string]*iamtest.Policy{key: p}}
	for action, want := range map[string]bool{"kms:PutKeyPolicy": true, "kms:Decrypt": false, "kms:GenerateDataKey": false, "kms:CreateGrant": false} {
		if got, why := w.Decide(iamtest.Request{Principal: who["k"], Action: action, Resource: key, Context: scans}); got != want {
			t.Errorf("%s: %v (%s)", action, got, why)
		}
	}
}

// The policies hold in the other partitions too.
func TestPartitions(t *testing.T) {
	v := policy.Vault{Bucket: "data", KeyARN: "arn:aws-cn:kms:cn-north-1:111122223333:key/1"}
	for name, text := range map[string]string{"uploader": v.Uploader(policy.Uploader{}).JSON(), "trainer": v.Trainer(policy.Trainer{}).JSON(),
		"key": v.KeyPolicy(policy.Access{Admins: []string{"x"}}).JSON(), "bucket": v.BucketPolicy().JSON()} {
		if strings.Contains(text, "arn:aws:") {
			t.Errorf("%s names a resource of another partition: %s", name, text)
		}
	}
	if text := v.Reader(policy.Reader{}).JSON(); !strings.Contains(text, `"s3.cn-north-1.amazonaws.com.cn"`) {
		t.Errorf("the service of S3 has another name in China: %s", text)
	}
}

func TestCheck(t *testing.T) {
	for _, bad := range []policy.Vault{{}, {Bucket: "a*", KeyARN: key}, {Bucket: "a", Prefix: "ml", KeyARN: key}, {Bucket: "a", Prefix: "m*/", KeyARN: key},
		{Bucket: "a", Prefix: "${aws:username}/", KeyARN: key}, {Bucket: "a", KeyARN: "alias/x"}, {Bucket: "a", KeyARN: key + "*"}} {
		if bad.Check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if err := ml.Check(); err != nil {
		t.Error(err)
	}
}
