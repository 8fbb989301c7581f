package policy

import (
	"slices"
	"strconv"

	"github.com/vaultpack/vaultpack/internal/arn"
)

// Access specifies who may do what with the KMS key. Principals are ARNs of
// existing users and roles.
type Access struct {
	// Admins manage the key, and cannot use it. The principal that sets the policy
	// must be among them, otherwise KMS refuses it (the lockout safety check).
	Admins []string
	// Users read and write all datasets.
	Users []string
	// Uploaders, Trainers and Readers have the access that their policies give.
	Uploaders []UploaderAccess
	Trainers  []TrainerAccess
	Readers   []ReaderAccess
	// AllTrainers describes all Trainers together, or is nil. A key policy that
	// has no room to name each of them refers to this description.
	AllTrainers *TrainerClass
}

// A TrainerClass describes all trainers of a vault, however many datasets there are.
// The policies of their roles say which of them opens which dataset.
type TrainerClass struct {
	// Tag and Value are the key and value of the tag on their roles. Roles are
	// patterns for the roles' ARNs.
	Tag, Value string
	Roles      []string
	// Trainer is what they may do, for all datasets.
	Trainer
}

// MaxKeyPolicy is the maximum size of a key policy in KMS, in bytes.
const MaxKeyPolicy = 32 << 10

// An UploaderAccess is the access of a principal as an uploader.
type UploaderAccess struct {
	Principal string
	Uploader
}

// A TrainerAccess is the access of a principal as a trainer.
type TrainerAccess struct {
	Principal string
	Trainer
}

// A ReaderAccess is the access of a principal as a reader.
type ReaderAccess struct {
	Principal string
	Reader
}

// adminActions manage a key. None of them uses it, and only kms:PutKeyPolicy, which
// CloudTrail records, can grant its use.
var adminActions = []string{
	"kms:CancelKeyDeletion", "kms:CreateAlias", "kms:DeleteAlias", "kms:DescribeKey", "kms:DisableKey", "kms:DisableKeyRotation",
	"kms:EnableKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListGrants",
	"kms:ListKeyPolicies", "kms:ListKeyRotations", "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:RevokeGrant", "kms:RotateKeyOnDemand",
	"kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
}

// KeyPolicy returns the policy of the KMS key. It names everyone who may use it: IAM
// policies alone let nobody use or change the key, not even administrators of the account,
// who can only view it. If all admins are lost, the account's root user can still set
// another policy.
//
// If the policy has no room to name all trainers, it admits the roles that
// a.AllTrainers describes, as far as their own policies allow. Anyone who may create, name
// and tag roles in IAM can then create another such role.
func (v Vault) KeyPolicy(a Access) Document {
	whole := func(a Access) Document {
		d := FirstKeyPolicy(v.partition(), v.account(), a.Admins)
		d.Statement = append(d.Statement, v.KeyUse(a).Statement...)
		return d
	}
	d := whole(a)
	if len(d.JSON()) > MaxKeyPolicy && a.AllTrainers != nil {
		a.Trainers = nil
		d = whole(a)
		d.Statement = append(d.Statement, v.classUse(*a.AllTrainers)...)
	}
	return d
}

// classUse lets the account's roles of the class use the key as trainers do.
func (v Vault) classUse(c TrainerClass) []Statement {
	c.Datasets = nil
	class := merge([]Conditions{when("StringEquals", "aws:PrincipalTag/"+c.Tag, c.Value), when("ArnLike", "aws:PrincipalArn", c.Roles...)})
	var statements []Statement
	for _, s := range v.trainerKey("TrainersByTag", c.Trainer) {
		s = v.inKeyPolicy(s, v.outputs(c.Outputs)).by(arn.Root(v.partition(), v.account()))
		s.Condition, s.Resource = merge([]Conditions{s.Condition, class}), thisKey
		statements = append(statements, s)
	}
	return statements
}

// FirstKeyPolicy returns the policy that a key is created with, before its users
// exist: the admins can manage the key, and nobody can use it.
func FirstKeyPolicy(partition, account string, admins []string) Document {
	root := arn.Root(partition, account)
	statements := []Statement{
		// For the root user only: without the condition, this would admit everyone whom IAM
		// allows.
		allow("VaultpackRecovery", []string{"kms:PutKeyPolicy"}, thisKey,
			when("StringEquals", "aws:PrincipalType", "Account")).by(root),
	}
	// Principals whom IAM allows to may view the key: auditors, and AWS Config,
	// without which Security Hub's KMS.5 fails.
	statements = append(statements, allow("VaultpackInspect", []string{"kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus",
		"kms:ListGrants", "kms:ListKeyPolicies", "kms:ListKeyRotations", "kms:ListResourceTags"}, thisKey).by(root))
	if len(admins) > 0 {
		statements = append(statements, allow("VaultpackAdmins", adminActions, thisKey).by(admins...))
	}
	return document(statements...)
}

// thisKey means the key itself, in its policy.
var thisKey = []string{"*"}

// KeyUse returns the part of the key's policy that lets principals use it.
// Principals with the same permissions share a statement.
func (v Vault) KeyUse(a Access) Document {
	var statements []Statement
	var own []string // what each statement allows
	add := func(outputs []string, principal string, all ...Statement) {
		for _, s := range all {
			s = v.inKeyPolicy(s, outputs)
			s.Resource = thisKey
			text := document(s).JSON()
			if i := slices.Index(own, text); i >= 0 {
				statements[i].Principal.AWS = append(statements[i].Principal.AWS, principal)
				continue
			}
			own = append(own, text)
			statements = append(statements, s.by(principal))
		}
	}
	// KMS resolves an alias without an encryption context.
	describe := func(sid string) Statement { return allow(sid, []string{"kms:DescribeKey"}, nil) }
	for _, user := range a.Users {
		// ReEncrypt moves data keys to another key: keys rewrap.
		add(nil, user,
			v.dataKeys("VaultpackDataKeysUsers", nil, "kms:GenerateDataKey", "kms:Decrypt", "kms:Encrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
			v.throughS3("VaultpackS3Users", nil, "kms:GenerateDataKey", "kms:Decrypt"),
			describe("VaultpackDescribe"))
	}
	for _, u := range a.Uploaders {
		add(nil, u.Principal, append(v.uploaderKey("Uploaders", u.Uploader), describe("VaultpackDescribe"))...)
	}
	for _, t := range a.Trainers {
		add(v.outputs(t.Outputs), t.Principal, v.trainerKey("Trainers", t.Trainer)...)
	}
	for _, r := range a.Readers {
		add(nil, r.Principal, append(v.readerKey("Readers", r.Reader), describe("VaultpackDescribe"))...)
	}
	number(statements)
	return document(statements...)
}

// number makes the Sids unique: the second of several statements of a kind gets the suffix 2.
func number(statements []Statement) {
	seen := map[string]int{}
	for i := range statements {
		sid := statements[i].Sid
		if seen[sid]++; seen[sid] > 1 {
			statements[i].Sid += strconv.Itoa(seen[sid])
		}
	}
}

// SigningKeyPolicy returns the policy of the KMS key that versions are signed with: only
// uploaders may sign. Verifying a signature takes no call to KMS.
func (v Vault) SigningKeyPolicy(a Access) Document {
	d := FirstKeyPolicy(v.partition(), v.account(), a.Admins)
	signers := slices.Clone(a.Users)
	for _, u := range a.Uploaders {
		signers = append(signers, u.Principal)
	}
	if len(signers) > 0 {
		d.Statement = append(d.Statement, SigningKeyUse(signers...).Statement...)
	}
	return d
}

// SigningKeyUse returns the part of a signing key's policy that lets the principals
// sign.
func SigningKeyUse(principals ...string) Document {
	return document(allow("VaultpackSign", []string{"kms:DescribeKey", "kms:GetPublicKey", "kms:Sign"}, thisKey).by(principals...))
}

// BucketPolicy returns a policy that allows nothing, and denies what nobody may
// do with the bucket: requests without TLS, and objects under a key or
// algorithm other than the vault's. A request that names neither gets the
// bucket's default, which is the vault's key. A request for aws:kms that names
// no key would get AWS's own key aws/s3, so it is denied.
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
	put, all := []string{"s3:PutObject"}, []string{v.bucketARN() + "/*"}
	return document(
		deny("VaultpackTLSOnly", []string{"s3:*"}, []string{v.bucketARN(), v.bucketARN() + "/*"}, when("Bool", "aws:SecureTransport", "false")),
		deny("VaultpackOtherAlgorithm", put, all, when("Null", algorithm, "false"), when("StringNotEquals", algorithm, "aws:kms")),
		deny("VaultpackOtherKey", put, all, when("Null", key, "false"), when("StringNotEquals", key, v.KeyARN)),
		deny("VaultpackKeyOfAWS", put, all, when("StringEquals", algorithm, "aws:kms"), when("Null", key, "true")),
		deny("VaultpackCustomerKey", put, all, when("Null", customer, "false")),
	)
}
