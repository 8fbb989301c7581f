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
// of IAM alone give nobody access, not even those who may do everything. If all
// admins are lost, the account's root user can still set another policy.
func (v Vault) KeyPolicy(a Access) Document {
	return KeyPolicy(v.partition(), v.account(), a, v)
}

// KeyPolicy is that of a key in the account. Before the key is made its ARN is not
// known, and then access has admins only.
func KeyPolicy(partition, account string, a Access, v Vault) Document {
	root := "arn:" + partition + ":iam::" + account + ":root"
	statements := []Statement{
		// For the root user alone: without the condition, all that IAM allows.
		allow("VaultpackRecovery", []string{"kms:DescribeKey", "kms:GetKeyPolicy", "kms:PutKeyPolicy"}, nil,
			when("StringEquals", "aws:PrincipalType", "Account")).by(root),
	}
	if len(a.Admins) > 0 {
		statements = append(statements, allow("VaultpackAdmins", adminActions, nil).by(a.Admins...))
	}
	add := func(principal string, own []Statement) {
		for _, s := range own {
			statements = append(statements, s.by(principal))
		}
	}
	if len(a.Users) > 0 {
		// ReEncrypt moves data keys to another key: keys rewrap.
		for _, s := range []Statement{
			v.dataKeys("VaultpackDataKeysUsers", nil, "kms:GenerateDataKey", "kms:Decrypt", "kms:Encrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
			v.throughS3("VaultpackS3Users", nil, "kms:GenerateDataKey", "kms:Decrypt"),
			allow("VaultpackDescribe", []string{"kms:DescribeKey"}, nil),
		} {
			statements = append(statements, s.by(a.Users...))
		}
	}
	for i, u := range a.Uploaders {
		add(u.Principal, v.uploaderKey("Uploader"+strconv.Itoa(i), u.Uploader))
	}
	for i, t := range a.Trainers {
		add(t.Principal, v.trainerKey("Trainer"+strconv.Itoa(i), t.Trainer))
	}
	for i, r := range a.Readers {
		add(r.Principal, v.readerKey("Reader"+strconv.Itoa(i), r.Reader))
	}
	for i := range statements {
		statements[i].Resource = []string{"*"} // in a key policy that is the key
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
