package policy

import (
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/internal/arn"
)

// An Uploader specifies what an uploader may do.
type Uploader struct {
	// Datasets are the datasets that it may write. An empty list means all.
	Datasets []string
	// Resume lets it unwrap the data keys of these datasets. Without it, an
	// uploader can begin a dataset but cannot read anything in the vault, not even
	// what it wrote itself. With it, an uploader can send what has changed, and
	// continue an interrupted upload.
	Resume bool
	// SigningKey is the ARN of an asymmetric KMS key that it signs versions with, or
	// empty if its key is kept elsewhere.
	SigningKey string
	// Tags lets it tag objects, which the setting s3.tags needs.
	Tags bool
}

// Uploader returns the policy of a role that runs encrypt-and-upload.
func (v Vault) Uploader(u Uploader) Document {
	put := []string{"s3:PutObject", "s3:AbortMultipartUpload"}
	if u.Tags {
		put = append(put, "s3:PutObjectTagging")
	}
	var more []Statement
	if len(u.Datasets) == 0 { // vaultpack doctor writes its probes there
		probe := v.listing([]string{"s3:ListBucket"}, "_vaultpack/pending/*")
		probe.Sid = "VaultpackListProbe"
		more = append(more, probe)
	}
	if u.SigningKey != "" {
		more = append(more, allow("VaultpackSign", []string{"kms:GetPublicKey", "kms:Sign"}, []string{u.SigningKey}))
	}
	return document(append(append([]Statement{
		v.inDatasetsOnly(v.listing([]string{"s3:ListBucket", "s3:ListBucketMultipartUploads"}, inDatasets(u.Datasets)...)),
		// Each object is checked after it was stored, and the index is read, in sealed form.
		allow("VaultpackRead", []string{"s3:GetObject"}, v.objects(inDatasets(u.Datasets, folders...)...)),
		allow("VaultpackWrite", put, v.objects(inDatasets(u.Datasets, folders...)...)),
		allow("VaultpackForgetPending", []string{"s3:DeleteObject"}, v.objects(inDatasets(u.Datasets, "pending/")...)),
		v.describe(),
	}, v.uploaderKey("", u)...), more...)...)
}

// uploaderKey returns what an uploader may do with the key. S3 also decrypts on its
// behalf: each part of a multipart upload is encrypted under the upload's data key.
func (v Vault) uploaderKey(sid string, u Uploader) []Statement {
	actions := []string{"kms:GenerateDataKey"}
	if u.Resume {
		actions = append(actions, "kms:Decrypt")
	}
	return []Statement{
		v.dataKeys("VaultpackDataKeys"+sid, u.Datasets, actions...),
		v.throughS3("VaultpackS3"+sid, nil, "kms:GenerateDataKey", "kms:Decrypt"),
	}
}

// A Trainer specifies what a SageMaker training or processing job may use.
type Trainer struct {
	// Datasets are the datasets that it may read. An empty list means all.
	Datasets []string
	// Outputs are further s3:// URLs, with a prefix, that it may write to. It may always
	// write where vaultpack train and process make jobs write: in the vault, below
	// _vaultpack/jobs/DATASET/JOB, to output/ and checkpoints/.
	Outputs []string
	// Repositories are the ARNs of the ECR repositories with its images. An empty
	// list means all in the Region, since AWS's own images are in AWS's accounts.
	Repositories []string
	// Volumes lets SageMaker encrypt the volumes of the job with the key.
	Volumes bool
	// VPC lets the job run in a VPC of the account.
	VPC bool
}

// Trainer returns the policy of the role that SageMaker assumes for a job.
func (v Vault) Trainer(t Trainer) Document {
	read := inDatasets(t.Datasets, "keys/", "versions/", "index/", "packs/")
	// The binary, the manifests, and what belongs to the jobs.
	own := append([]string{"_vaultpack/bin/*", "_vaultpack/manifests/*"}, ofJobs(t.Datasets, "")...)
	list := slices.Concat(own, inDatasets(t.Datasets))
	statements := []Statement{
		v.listing([]string{"s3:ListBucket"}, list...),
		allow("VaultpackRead", []string{"s3:GetObject"}, v.objects(slices.Concat(own, read)...)),
	}
	out := v.outputs(t.Outputs)
	for _, folder := range []string{"/output/*", "/checkpoints/*"} { // not where sources and keys are
		out = append(out, v.objects(ofJobs(t.Datasets, folder)...)...)
	}
	statements = append(statements, allow("VaultpackOutput", []string{"s3:PutObject", "s3:AbortMultipartUpload"}, out))
	statements = append(statements, v.trainerKey("", t)...)
	return document(append(statements, v.sageMaker(t)...)...)
}

// outputs returns the ARNs of the objects below the URLs.
func (v Vault) outputs(urls []string) []string {
	var arns []string
	for _, u := range urls {
		arns = append(arns, arn.Bucket(v.partition(), strings.TrimSuffix(strings.TrimPrefix(u, "s3://"), "/"))+"/*")
	}
	return arns
}

// trainerKey returns what a trainer may do with the key. S3 also encrypts the
// output of a job under it.
func (v Vault) trainerKey(sid string, t Trainer) []Statement {
	statements := []Statement{
		v.dataKeys("VaultpackDataKeys"+sid, t.Datasets, "kms:Decrypt"),
		v.throughS3("VaultpackS3"+sid, v.outputs(t.Outputs), "kms:Decrypt", "kms:GenerateDataKey"),
	}
	if t.Volumes {
		statements = append(statements, allow("VaultpackVolumes"+sid, []string{"kms:CreateGrant"}, []string{v.KeyARN},
			// SageMaker makes the grant for the volumes on the role's behalf:
			// https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html#conditions-kms-via-service
			when("StringEquals", "kms:ViaService", v.service("sagemaker")...), when("Bool", "kms:GrantIsForAWSResource", "true")))
	}
	return statements
}

// sageMaker returns what else SageMaker does on the role's behalf:
// https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html, the
// CreateTrainingJob and CreateProcessingJob APIs.
func (v Vault) sageMaker(t Trainer) []Statement {
	groups := "arn:" + v.partition() + ":logs:" + v.region() + ":" + v.account() + ":log-group:/aws/sagemaker/"
	training, processing := groups+"TrainingJobs", groups+"ProcessingJobs"
	images := t.Repositories
	if len(images) == 0 {
		images = []string{"arn:" + v.partition() + ":ecr:" + v.region() + ":*:repository/*"}
	}
	statements := []Statement{
		allow("VaultpackLogs", []string{"logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"},
			[]string{training, training + ":*", processing, processing + ":*"}),
		allow("VaultpackMetrics", []string{"cloudwatch:PutMetricData"}, []string{"*"},
			when("StringLike", "cloudwatch:namespace", "/aws/sagemaker/*", "aws/sagemaker/*")),
		allow("VaultpackImages", []string{"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"}, images),
		allow("VaultpackImagesLogin", []string{"ecr:GetAuthorizationToken"}, []string{"*"}), // does not support resources
	}
	if t.VPC {
		statements = append(statements, allow("VaultpackVPC", []string{"ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission",
			"ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission", "ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces",
			"ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"}, []string{"*"}))
	}
	return statements
}

// A Reader specifies what a reader may read with restore, cat, verify and the other
// reading commands.
type Reader struct {
	// Datasets are the datasets that it may read. An empty list means all.
	Datasets []string
}

// Reader returns the policy of a role that reads and verifies, and changes nothing.
func (v Vault) Reader(r Reader) Document {
	list := append(inDatasets(r.Datasets), ofJobs(r.Datasets, "")...)
	if len(r.Datasets) == 0 {
		list = append([]string{"", "_vaultpack/jobs/"}, list...) // which datasets exist, and which were trained on
	}
	return document(append([]Statement{
		v.listing([]string{"s3:ListBucket"}, list...),
		allow("VaultpackRead", []string{"s3:GetObject"}, v.objects(append(inDatasets(r.Datasets, folders...),
			ofJobs(r.Datasets, "/launch.json")...)...)), // which jobs have seen which version
		v.describe(),
	}, v.readerKey("", r)...)...)
}

// describe allows naming the key by an alias or its ID, which KMS is asked to resolve.
func (v Vault) describe() Statement {
	return allow("VaultpackDescribe", []string{"kms:DescribeKey"}, []string{v.KeyARN})
}

func (v Vault) readerKey(sid string, r Reader) []Statement {
	return []Statement{
		v.dataKeys("VaultpackDataKeys"+sid, r.Datasets, "kms:Decrypt"),
		v.throughS3("VaultpackS3"+sid, nil, "kms:Decrypt"),
	}
}

// TrainerTrust lets SageMaker assume the role only for jobs of the vault's
// account.
func (v Vault) TrainerTrust() Document {
	return SageMakerTrust(v.account())
}

// SageMakerTrust lets SageMaker assume a role for jobs of the account.
func SageMakerTrust(account string) Document {
	return document(Statement{Sid: "VaultpackSageMaker", Effect: "Allow",
		Principal: &Principal{Service: []string{"sagemaker.amazonaws.com"}}, Action: []string{"sts:AssumeRole"},
		Condition: when("StringEquals", "aws:SourceAccount", account)})
}

// Trust lets the principals assume a role. An account's root (arn:…:root) stands
// for everyone whom IAM in that account allows to assume it.
func Trust(principals ...string) Document {
	return document(Statement{Sid: "VaultpackAssume", Effect: "Allow",
		Principal: &Principal{AWS: principals}, Action: []string{"sts:AssumeRole"}})
}
