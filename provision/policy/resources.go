package policy

import "strconv"

// Access says who may do what with the KMS key. Principals are ARNs of users and
// roles that exist.
type Access struct {
	// Admins manage the key, and cannot use it. The one who sets the policy has to
	// be among them, else KMS refuses it (the lockout safety check).
	Admins []string
	// Users read and write all datasets.
	Users []string
	// Uploaders, Trainers and Readers have the access that their policies give.
	Uploaders []UploaderAccess
	Trainers  []TrainerAccess
	Readers   []ReaderAccess
}

// An UploaderAccess is what a principal has as an uploader.
type UploaderAccess struct {
	Principal string
	Uploader
}

// A TrainerAccess is what a principal has as a trainer.
type TrainerAccess struct {
	Principal string
	Trainer
}

// A ReaderAccess is what a principal has as a reader.
type ReaderAccess struct {
	Principal string
	Reader
}

// adminActions manage a key. None uses it, and none grants its use but
// kms:PutKeyPolicy, which CloudTrail records.
var adminActions = []string{
	"kms:CancelKeyDeletion", "kms:CreateAlias", "kms:DeleteAlias", "kms:DescribeKey", "kms:DisableKey", "kms:DisableKeyRotation",
	"kms:EnableKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListGrants",
	"kms:ListKeyPolicies", "kms:ListKeyRotations", "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:RevokeGrant", "kms:RotateKeyOnDemand",
	"kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
}

// KeyPolicy is the policy of the KMS key. It names all who may use it: policies
// of IAM alone let nobody use or change it, not even those who may do everything.
// What they can do is look at it. If all admins are lost, the account's root user can still set another policy.
func (v Vault) KeyPolicy(a Access) Document {
	d := FirstKeyPolicy(v.partition(), v.account(), a.Admins)
	d.Statement = append(d.Statement, v.KeyUse(a).Statement...)
	return d
}

// FirstKeyPolicy is the policy that a key is made with, before its users are: the
// admins can go on, and nobody can use the key.
func FirstKeyPolicy(partition, account string, admins []string) Document {
	root := "arn:" + partition + ":iam::" + account + ":root"
	statements := []Statement{
		// For the root user alone: without the condition, all that IAM allows.
		allow("VaultpackRecovery", []string{"kms:PutKeyPolicy"}, thisKey,
			when("StringEquals", "aws:PrincipalType", "Account")).by(root),
	}
	// Whom IAM allows it may look at the key: auditors, and AWS Config, without
	// which Security Hub's KMS.5 fails.
	statements = append(statements, allow("VaultpackInspect", []string{"kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus",
		"kms:ListGrants", "kms:ListKeyPolicies", "kms:ListKeyRotations", "kms:ListResourceTags"}, thisKey).by(root))
	if len(admins) > 0 {
		statements = append(statements, allow("VaultpackAdmins", adminActions, thisKey).by(admins...))
	}
	return document(statements...)
}

// thisKey is the key, in its policy.
var thisKey = []string{"*"}

// KeyUse is the part of the key's policy that lets principals use it.
func (v Vault) KeyUse(a Access) Document {
	var statements []Statement
	add := func(own []Statement, outputs []string, principals ...string) {
		for _, s := range own {
			s = v.inKeyPolicy(s, outputs).by(principals...)
			s.Resource = thisKey
			statements = append(statements, s)
		}
	}
	if len(a.Users) > 0 {
		// ReEncrypt moves data keys to another key: keys rewrap.
		add([]Statement{
			v.dataKeys("VaultpackDataKeysUsers", nil, "kms:GenerateDataKey", "kms:Decrypt", "kms:Encrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
			v.throughS3("VaultpackS3Users", nil, "kms:GenerateDataKey", "kms:Decrypt"),
		}, nil, a.Users...)
	}
	for i, u := range a.Uploaders {
		add(v.uploaderKey("Uploader"+strconv.Itoa(i), u.Uploader), nil, u.Principal)
	}
	for i, t := range a.Trainers {
		add(v.trainerKey("Trainer"+strconv.Itoa(i), t.Trainer), v.outputs(t.Outputs), t.Principal)
	}
	for i, r := range a.Readers {
		add(v.readerKey("Reader"+strconv.Itoa(i), r.Reader), nil, r.Principal)
	}
	return document(statements...)
}

// BucketPolicy denies what nobody may do with the bucket, and allows nothing:
// requests without TLS, and objects under another key or algorithm than the
// vault's. A request that names neither gets the bucket's default, which is the
// vault's key; one that asks for aws:kms and names no key would get a key of
// AWS's, aws/s3, so it is denied.
func (v Vault) BucketPolicy() Document {
	deny := func(sid string, actions, resources []string, conditions ...Conditions) Statement {
		s := allow(sid, actions, resources, conditions...)
		s.Effect, s.Principal = "Deny", &Principal{}
		return s
	}
	const (
		algorithm = "s3:x-amz-server-side-encryption"
		key       = "s3:x-amz-server-side-encryption-aws-kms-key-id"
		customer  = "s3:x-amz-server-side-encryption-customer-algorithm"
	)
	put, all := []string{"s3:PutObject"}, []string{v.BucketARN() + "/*"}
	return document(
		deny("VaultpackTLSOnly", []string{"s3:*"}, []string{v.BucketARN(), v.BucketARN() + "/*"}, when("Bool", "aws:SecureTransport", "false")),
		deny("VaultpackOtherAlgorithm", put, all, when("Null", algorithm, "false"), when("StringNotEquals", algorithm, "aws:kms")),
		deny("VaultpackOtherKey", put, all, when("Null", key, "false"), when("StringNotEquals", key, v.KeyARN)),
		deny("VaultpackKeyOfAWS", put, all, when("StringEquals", algorithm, "aws:kms"), when("Null", key, "true")),
		deny("VaultpackCustomerKey", put, all, when("Null", customer, "false")),
	)
}
