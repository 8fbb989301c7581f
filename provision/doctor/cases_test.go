package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing/fstest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/provision/doctor"
	"github.com/vaultpack/vaultpack/trust"
	"github.com/vaultpack/vaultpack/vault"
)

// passing are the checks that a vault in order passes, by the world it is in. All
// others are skipped there, but that moto lets nothing be put: it applies the Deny
// statements of the bucket's policy without their conditions.
var passing = map[string][]string{
	"MinIO": {"settings", "credentials", "endpoint", "clock", "region", "bucket", "default encryption", "bucket policy", "versioning", "lifecycle",
		"unfinished uploads", "keys", "key state", "key rotation", "kms:GenerateDataKey", "kms:Decrypt", "kms:Encrypt", "signing key",
		"put", "object encryption", "get", "conditional writes", "delete", "keyrings", "known datasets", "disk", "memory", "binary"},
	"moto": {"settings", "credentials", "endpoint", "clock", "region", "bucket", "default encryption", "public access", "bucket policy", "versioning", "lifecycle",
		"unfinished uploads", "keys", "key state", "key rotation", "kms:GenerateDataKey", "kms:Encrypt", "signing key",
		"known datasets", "disk", "memory", "binary", "training role"},
	"directory": {"settings", "directory", "exclusive creation", "hard links", "file locks", "folder sync", "file times", "letter case", "keys", "signing key", "put", "get", "conditional writes", "delete", "keyrings", "known datasets", "disk", "memory"},
}

// A testCase is one change to a vault in order, and what a check makes of it.
type testCase struct {
	check, world string
	result       doctor.Result
	says         string // a part of the reason
	fix          string // a part of the fix
	missing      string // the actions
	change       func(*world)
}

var cases = slices.Concat(serverCases, bucketCases, keyCases, probeCases, machineCases, fileSystemCases)

var serverCases = []testCase{
	{"settings", "MinIO", doctor.Failed, "there is no key alias/vault", "the key's ARN", "", func(w *world) { w.cfg.S3.KMSKey = "alias/vault" }},
	{"settings", "directory", doctor.Failed, "neither in S3 nor a directory", "s3://BUCKET", "", func(w *world) { w.cfg.Vault.Value = "gs://bucket" }},
	{"credentials", "MinIO", doctor.Failed, "no usable AWS credentials", "aws sso login", "", func(w *world) {
		w.cfg.S3.LoadOptions = append(w.cfg.S3.LoadOptions, awsconfig.WithCredentialsProvider(aws.CredentialsProviderFunc(
			func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{}, errors.New("the SSO session has expired")
			})))
	}},
	{"credentials", "MinIO", doctor.Warning, "the credentials expire in 5m", "again", "", func(w *world) {
		w.cfg.S3.LoadOptions = append(w.cfg.S3.LoadOptions, awsconfig.WithCredentialsProvider(aws.CredentialsProviderFunc(
			func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: w.server.AccessKey, SecretAccessKey: w.server.SecretKey, CanExpire: true, Expires: time.Now().Add(5*time.Minute + time.Second)}, nil
			})))
	}},
	{"endpoint", "MinIO", doctor.Failed, "no answer", "check the network", "", func(w *world) { w.cfg.S3.Endpoint = "http://127.0.0.1:1" }},
	{"clock", "MinIO", doctor.Failed, "ahead of the server's; the server refuses requests", "timedatectl", "", func(w *world) { w.through(dated(-20 * time.Minute)) }},
	{"clock", "MinIO", doctor.Warning, "behind the server's; at", "timedatectl", "", func(w *world) { w.through(dated(2 * time.Minute)) }},
	{"region", "MinIO", doctor.Failed, "the bucket is in eu-west-3", "set region", "", func(w *world) {
		w.through(&faultproxy.Fault{Op: "HEAD", Do: faultproxy.Change(func(r *faultproxy.Response) { r.Header.Set("X-Amz-Bucket-Region", "eu-west-3") })})
	}},
	{"region", "moto", doctor.Failed, "S3 uses keys of its own region only", "use a KMS key in eu-central-1", "", func(w *world) {
		w.cfg.S3.KMSKey = strings.Replace(w.key, "eu-central-1", "eu-west-1", 1)
	}},
	{"bucket", "MinIO", doctor.Failed, "there is no bucket nobodys", "vaultpack init --vault s3://nobodys", "", func(w *world) { w.cfg.Vault.Value = "s3://nobodys" }},
	{"bucket", "MinIO", doctor.Failed, "not allowed", "allow s3:ListBucket", "s3:ListBucket", func(w *world) { w.refuse("ListObjectsV2") }},
	{"bucket", "MinIO", doctor.Failed, "does not know these AWS credentials", "credentials", "", func(w *world) {
		w.through(&faultproxy.Fault{Op: "ListObjectsV2", Do: faultproxy.Refuse(403, "SignatureDoesNotMatch")})
	}},
}

// signInKMS has versions be signed with a key of the spec, and returns its ARN.
func (w *world) signInKMS(spec kmstypes.KeySpec, usage kmstypes.KeyUsageType) string {
	key, err := w.admin().CreateKey(w.t.Context(), &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
	w.ok(err)
	w.cfg.Signing, w.cfg.DefaultSigning = config.Setting{Value: *key.KeyMetadata.Arn, Source: "the test"}, false
	return *key.KeyMetadata.Arn
}

// remember has this machine know a version of a dataset, in a folder of its own whose name
// is a pattern too. It returns the file.
func (w *world) remember(dataset string, number int64) string {
	w.t.Setenv("VAULTPACK_HOME", filepath.Join(w.t.TempDir(), "[home]*"))
	dir, err := w.cfg.Remembered()
	w.ok(err)
	w.ok(dir.Learn(w.t.Context(), dataset, trust.Known{Number: number}))
	var file string
	w.ok(filepath.WalkDir(dir.Path, func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".json" {
			file = path
		}
		return err
	}))
	return file
}

// dated has the server's clock be another.
func dated(by time.Duration) *faultproxy.Fault {
	return &faultproxy.Fault{Op: "HEAD", Do: faultproxy.Change(func(r *faultproxy.Response) {
		r.Header.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
	})}
}

func (w *world) putRule(prefix string, r types.LifecycleRule) {
	r.ID, r.Status, r.Filter = aws.String("old"), types.ExpirationStatusEnabled, &types.LifecycleRuleFilter{Prefix: &prefix}
	_, err := w.s3.PutBucketLifecycleConfiguration(w.t.Context(), &s3.PutBucketLifecycleConfigurationInput{Bucket: &w.bucket,
		LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{r}}})
	w.ok(err)
}

func (w *world) putPolicy(text string) {
	text = fmt.Sprintf(`{"Version":"2012-10-17","Statement":[`+text+`]}`, "arn:aws:s3:::"+w.bucket+"/*")
	_, err := w.s3.PutBucketPolicy(w.t.Context(), &s3.PutBucketPolicyInput{Bucket: &w.bucket, Policy: &text})
	w.ok(err)
}

func (w *world) putEncryption(rule types.ServerSideEncryptionByDefault, bucketKey bool) {
	_, err := w.s3.PutBucketEncryption(w.t.Context(), &s3.PutBucketEncryptionInput{Bucket: &w.bucket,
		ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{{
			ApplyServerSideEncryptionByDefault: &rule, BucketKeyEnabled: &bucketKey}}}})
	w.ok(err)
}

const onlyTLS = `{"Sid":"TLS","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":%q,"Condition":{"Bool":{"aws:SecureTransport":"false"}}}`

var bucketCases = []testCase{
	{"default encryption", "MinIO", doctor.Warning, "no default encryption", "vaultpack init", "", func(w *world) {
		_, err := w.s3.DeleteBucketEncryption(w.t.Context(), &s3.DeleteBucketEncryptionInput{Bucket: &w.bucket})
		w.ok(err)
	}},
	{"default encryption", "moto", doctor.Warning, "AES256", "vaultpack init", "", func(w *world) {
		w.putEncryption(types.ServerSideEncryptionByDefault{SSEAlgorithm: "AES256"}, false)
	}},
	{"default encryption", "moto", doctor.Warning, "with the key", "vaultpack init", "", func(w *world) {
		w.putEncryption(types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: aws.String(w.key + "0")}, true)
	}},
	{"default encryption", "moto", doctor.Warning, "without a bucket key", "vaultpack init", "", func(w *world) {
		w.putEncryption(types.ServerSideEncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: &w.key}, false)
	}},
	{"default encryption", "MinIO", doctor.Skipped, "not allowed to check", "", "s3:GetEncryptionConfiguration", func(w *world) {
		w.through(query("GET", "encryption", faultproxy.Refuse(403, "AccessDenied")))
	}},
	{"public access", "moto", doctor.Failed, "nothing blocks it", "put-public-access-block", "", func(w *world) {
		_, err := w.s3.DeletePublicAccessBlock(w.t.Context(), &s3.DeletePublicAccessBlockInput{Bucket: &w.bucket})
		w.ok(err)
	}},
	{"public access", "moto", doctor.Failed, "BlockPublicPolicy is off", "put-public-access-block", "", func(w *world) {
		_, err := w.s3.PutPublicAccessBlock(w.t.Context(), &s3.PutPublicAccessBlockInput{Bucket: &w.bucket, PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
			BlockPublicAcls: aws.Bool(true), IgnorePublicAcls: aws.Bool(true), BlockPublicPolicy: aws.Bool(false), RestrictPublicBuckets: aws.Bool(true)}})
		w.ok(err)
	}},
	{"bucket policy", "moto", doctor.Warning, "without TLS", "vaultpack init", "", func(w *world) {
		_, err := w.s3.DeleteBucketPolicy(w.t.Context(), &s3.DeleteBucketPolicyInput{Bucket: &w.bucket})
		w.ok(err)
	}},
	{"bucket policy", "moto", doctor.Warning, "under another key", "vaultpack init", "", func(w *world) { w.putPolicy(onlyTLS) }},
	{"bucket policy", "MinIO", doctor.Failed, "Anybody allows everyone", "remove the statement", "", func(w *world) {
		w.putPolicy(`{"Sid":"Anybody","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":%q}`)
	}},
	{"versioning", "MinIO", doctor.Warning, "no old versions", "put-bucket-versioning", "", func(w *world) {
		_, err := w.s3.PutBucketVersioning(w.t.Context(), &s3.PutBucketVersioningInput{Bucket: &w.bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: "Suspended"}})
		w.ok(err)
	}},
	{"lifecycle", "moto", doctor.Warning, "no rule aborts", "vaultpack init", "", func(w *world) {
		_, err := w.s3.DeleteBucketLifecycle(w.t.Context(), &s3.DeleteBucketLifecycleInput{Bucket: &w.bucket})
		w.ok(err)
	}},
	{"lifecycle", "MinIO", doctor.Failed, `the lifecycle rule "old" deletes objects`, "remove the rule", "", func(w *world) {
		w.putRule("m", types.LifecycleRule{Expiration: &types.LifecycleExpiration{Days: aws.Int32(30)}})
	}},
	{"lifecycle", "MinIO", doctor.OK, "in the vault", "", "", func(w *world) {
		w.putRule("logs/", types.LifecycleRule{Expiration: &types.LifecycleExpiration{Days: aws.Int32(30)}})
	}},
	{"lifecycle", "moto", doctor.Failed, "to DEEP_ARCHIVE, from where", "GLACIER_IR", "", func(w *world) {
		w.putRule("ml/scans/packs/", types.LifecycleRule{Transitions: []types.Transition{{Days: aws.Int32(30), StorageClass: types.TransitionStorageClassDeepArchive}}})
	}},
	{"unfinished uploads", "MinIO", doctor.Warning, "1 multipart upload older than 1ns hold 1.0 MiB", "vaultpack gc", "", func(w *world) { w.begin() }},
	{"unfinished uploads", "MinIO", doctor.Warning, "cannot find out their size", "vaultpack gc", "", func(w *world) {
		w.begin()
		w.through(&faultproxy.Fault{Op: "GetObject", Path: "/left", Do: faultproxy.Refuse(403, "AccessDenied")}) // ListParts
	}},
	{"unfinished uploads", "MinIO", doctor.Skipped, "not allowed to check", "", "s3:ListBucketMultipartUploads", func(w *world) { w.refuse("ListMultipartUploads") }},
}

// begin leaves an upload unfinished.
func (w *world) begin() {
	w.cfg.S3.StaleUploads = 1
	key := aws.String("ml/scans/packs/left")
	up, err := w.s3.CreateMultipartUpload(w.t.Context(), &s3.CreateMultipartUploadInput{Bucket: &w.bucket, Key: key})
	w.ok(err)
	_, err = w.s3.UploadPart(w.t.Context(), &s3.UploadPartInput{Bucket: &w.bucket, Key: key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader(strings.Repeat("x", 1<<20))})
	w.ok(err)
}

func (w *world) admin() *kms.Client { return w.kms.Client(w.server.Region, "admin") }

// limitTo has the key's policy let the caller use the key for one dataset only.
func (w *world) limitTo(dataset string) {
	w.caller()
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/limited"},"Action":"kms:*","Resource":"*",
		"Condition":{"StringEquals":{"kms:EncryptionContext:vaultpack:dataset":"` + dataset + `"}}}]}`
	_, err := w.admin().PutKeyPolicy(w.t.Context(), &kms.PutKeyPolicyInput{KeyId: &w.key, PolicyName: aws.String("default"), Policy: &policy})
	w.ok(err)
}

var keyCases = []testCase{
	{"keys", "directory", doctor.Failed, "others can read", "chmod 600", "", func(w *world) { w.ok(os.Chmod(w.cfg.LocalKey.Value, 0o640)) }},
	{"keys", "directory", doctor.Failed, "does not exist", "vaultpack config", "", func(w *world) { w.ok(os.Remove(w.cfg.LocalKey.Value)) }},
	{"keys", "directory", doctor.Warning, "is in the vault", "move it", "", func(w *world) {
		inside := filepath.Join(w.dir, "local.key")
		w.ok(os.Rename(w.cfg.LocalKey.Value, inside))
		w.cfg.LocalKey.Value = inside
	}},
	{"keys", "MinIO", doctor.Failed, "not allowed", "allow kms:DescribeKey", "kms:DescribeKey", func(w *world) {
		_, err := w.admin().CreateAlias(w.t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/vault"), TargetKeyId: &w.key})
		w.ok(err)
		w.cfg.KMSKeys[0].Value = "alias/vault"
		w.caller("kms:GenerateDataKey", "kms:Decrypt")
	}},
	{"key state", "MinIO", doctor.Failed, "it is disabled", "aws kms enable-key", "", func(w *world) {
		_, err := w.admin().DisableKey(w.t.Context(), &kms.DisableKeyInput{KeyId: &w.key})
		w.ok(err)
	}},
	{"key state", "MinIO", doctor.Failed, "it will be deleted on 20", "cancel-key-deletion", "", func(w *world) {
		_, err := w.admin().ScheduleKeyDeletion(w.t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: &w.key})
		w.ok(err)
	}},
	{"key state", "MinIO", doctor.Failed, "no such key", "kms_keys", "", func(w *world) { w.cfg.KMSKeys[0].Value += "0" }},
	{"key state", "MinIO", doctor.Failed, "its state Unavailable", "describe-key", "", func(w *world) { w.ok(w.kms.SetKeyState(w.key, "Unavailable")) }},
	{"key state", "MinIO", doctor.Failed, "its spec is HMAC_256", "symmetric", "", func(w *world) {
		k, err := w.admin().CreateKey(w.t.Context(), &kms.CreateKeyInput{KeySpec: kmstypes.KeySpecHmac256, KeyUsage: kmstypes.KeyUsageTypeGenerateVerifyMac})
		w.ok(err)
		w.cfg.KMSKeys[0].Value = *k.KeyMetadata.Arn
	}},
	{"key state", "MinIO", doctor.Skipped, "not allowed to check", "", "kms:DescribeKey", func(w *world) { w.caller("kms:GenerateDataKey", "kms:Decrypt") }},
	{"key rotation", "MinIO", doctor.Warning, "does not rotate", "enable-key-rotation", "", func(w *world) {
		_, err := w.admin().DisableKeyRotation(w.t.Context(), &kms.DisableKeyRotationInput{KeyId: &w.key})
		w.ok(err)
	}},
	{"kms:GenerateDataKey", "MinIO", doctor.Failed, "not allowed for the dataset scans", "key's policy", "kms:GenerateDataKey", func(w *world) { w.caller("kms:DescribeKey", "kms:Decrypt") }},
	{"kms:GenerateDataKey", "MinIO", doctor.Failed, "is tried with --dataset", "key's policy", "kms:GenerateDataKey", func(w *world) {
		w.limitTo("scans")
		w.doc.Dataset = ""
	}},
	{"kms:GenerateDataKey", "MinIO", doctor.OK, "for the dataset scans", "", "", func(w *world) { w.limitTo("scans") }},
	{"kms:Decrypt", "MinIO", doctor.OK, "for the dataset scans", "", "", func(w *world) { w.limitTo("scans") }},
	{"kms:Decrypt", "MinIO", doctor.Failed, "not allowed for the dataset scans", "key's policy", "kms:Decrypt", func(w *world) { w.limitTo("faces") }},
	{"kms:Decrypt", "MinIO", doctor.Failed, "all that reads", "key's policy", "kms:Decrypt", func(w *world) { w.caller("kms:DescribeKey", "kms:GenerateDataKey") }},
	{"kms:Decrypt", "MinIO", doctor.Failed, "kms:Decrypt fails", "try again", "", func(w *world) {
		w.kms.Fail("Decrypt", 3, kmstest.Fault{Code: "KMSInternalException"})
	}},
	{"kms:Encrypt", "MinIO", doctor.Warning, "keys add", "key's policy", "kms:Encrypt", func(w *world) { w.caller("kms:DescribeKey", "kms:GenerateDataKey", "kms:Decrypt") }},
	{"keyrings", "directory", doctor.Failed, "", "the key that the dataset was created with", "", func(w *world) {
		w.cfg.LocalKey.Value = filepath.Join(w.t.TempDir(), "other.key")
		_, err := config.CreateLocalKey(w.cfg)
		w.ok(err)
	}},
	{"keyrings", "MinIO", doctor.Failed, "not allowed", "allow kms:Decrypt", "kms:Decrypt", func(w *world) { w.caller("kms:DescribeKey", "kms:GenerateDataKey") }},
}

var probeCases = []testCase{
	{"put", "MinIO", doctor.Failed, "not allowed", "allow s3:PutObject, kms:GenerateDataKey", "s3:PutObject kms:GenerateDataKey", func(w *world) { w.refuse("PutObject") }},
	{"put", "directory", doctor.Failed, "not a directory", "local file system", "", func(w *world) {
		w.ok(os.WriteFile(filepath.Join(w.dir, "_vaultpack"), nil, 0o600))
	}},
	{"object encryption", "MinIO", doctor.Failed, "instead of SSE-KMS", "sse: none", "", func(w *world) {
		w.through(&faultproxy.Fault{Op: "HeadObject", Path: "/probe", Do: faultproxy.Change(func(r *faultproxy.Response) { r.Header.Del("X-Amz-Server-Side-Encryption") })})
	}},
	{"get", "MinIO", doctor.Failed, "", "run doctor again", "", func(w *world) {
		w.through(&faultproxy.Fault{Op: "GetObject", Path: "/probe", Times: -1, Do: faultproxy.Corrupt})
	}},
	{"get", "MinIO", doctor.Failed, "not allowed", "allow s3:GetObject", "s3:GetObject kms:Decrypt", func(w *world) {
		w.through(&faultproxy.Fault{Op: "GetObject", Path: "/probe", Do: faultproxy.Refuse(403, "AccessDenied")})
	}},
	{"conditional writes", "MinIO", doctor.Failed, "an existing object was created again", "If-None-Match", "", func(w *world) {
		// A server that ignores the condition.
		w.through(&faultproxy.Fault{Op: "PutObject", Path: "/once", First: 2, Do: func(x *faultproxy.Exchange) {
			_, key, _ := strings.Cut(strings.TrimPrefix(x.Request.URL.Path, "/"), "/")
			if _, err := w.s3.DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: &w.bucket, Key: &key}); err != nil {
				w.t.Error(err)
			}
			x.Answer(x.Forward())
		}})
	}},
	{"conditional writes", "MinIO", doctor.Failed, "creating a new object", "If-None-Match", "", func(w *world) {
		w.through(&faultproxy.Fault{Op: "PutObject", Path: "/once", Times: -1, Do: faultproxy.Refuse(501, "NotImplemented")})
	}},
	{"conditional writes", "directory", doctor.Failed, "input/output error", "another file system", "", func(w *world) {
		w.doc.Through(func(s vault.Store) vault.Store { return noCreate{s} })
	}},
	{"delete", "MinIO", doctor.Failed, "not allowed", "by hand", "s3:DeleteObject", func(w *world) { w.refuse("DeleteObject") }},
	{"delete", "directory", doctor.Failed, "still there", "by hand", "", func(w *world) {
		w.doc.Through(func(s vault.Store) vault.Store { return &lazy{Store: s} })
	}},
}

// noCreate is a disk that fails.
type noCreate struct{ vault.Store }

func (s noCreate) Unwrap() vault.Store { return s.Store }

func (noCreate) Create(_ context.Context, name string, _ []byte) error {
	return &os.LinkError{Op: "linkat", Old: name, New: name, Err: syscall.EIO}
}

// lazy does not delete at once.
type lazy struct {
	vault.Store
	asked bool
}

func (l *lazy) Unwrap() vault.Store { return l.Store }

func (l *lazy) Delete(ctx context.Context, name string) error {
	if !l.asked {
		l.asked = true
		return nil
	}
	return l.Store.Delete(ctx, name)
}

// role makes a role whose trust allows the first, and denies the second.
func (w *world) role(name string, principals ...string) {
	w.doc.Role = "arn:aws:iam::123456789012:role/" + name
	text := `{"Effect":"Allow","Action":"sts:AssumeRole",` + principals[0] + `}`
	if len(principals) > 1 {
		text = "[" + text + `,{"Effect":"Deny","Action":["sts:*"],` + principals[1] + `}]`
	}
	_, err := iam.NewFromConfig(w.aws).CreateRole(w.t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":` + text + `}`)})
	w.ok(err)
}

var machineCases = []testCase{
	{"directory", "directory", doctor.Failed, "there is no vault", "vaultpack init --vault", "", func(w *world) { w.ok(os.Remove(filepath.Join(w.dir, "vaultpack-vault.json"))) }},
	{"directory", "directory", doctor.Failed, "authentication", "backup", "", func(w *world) {
		w.ok(os.WriteFile(filepath.Join(w.dir, "vaultpack-vault.json"), []byte("{}"), 0o600))
	}},
	{"directory", "directory", doctor.Failed, "is not a directory", "VAULTPACK_HOME", "", func(w *world) {
		file := filepath.Join(w.t.TempDir(), "file")
		w.ok(os.WriteFile(file, nil, 0o600))
		w.cfg.Vault.Value, w.cfg.Default = filepath.Join(file, "vault"), true
	}},
	{"directory", "directory", doctor.Skipped, "the first upload creates it", "", "", func(w *world) {
		w.cfg.Vault.Value, w.cfg.Default = filepath.Join(w.t.TempDir(), "new", "vault"), true
	}},
	{"signing key", "directory", doctor.OK, "versions are signed with ", "", "", func(*world) {}},
	{"signing key", "MinIO", doctor.OK, "the first upload makes one in /", "", "", func(w *world) { w.ok(os.Remove(w.cfg.Signing.Value)) }},
	{"signing key", "directory", doctor.Failed, "does not exist; restore it from its backup, or set another with --signing-key", "signing_key", "", func(w *world) {
		w.cfg.Signing = config.Setting{Value: filepath.Join(w.t.TempDir(), "none"), Source: "the test"}
	}},
	{"signing key", "MinIO", doctor.OK, ", in KMS", "", "", func(w *world) { w.signInKMS(kmstypes.KeySpecEccNistP256, kmstypes.KeyUsageTypeSignVerify) }},
	{"signing key", "MinIO", doctor.Failed, "kms:GetPublicKey: ", "ECC_NIST_P256", "", func(w *world) { w.signInKMS(kmstypes.KeySpecHmac256, kmstypes.KeyUsageTypeGenerateVerifyMac) }},
	{"signing key", "MinIO", doctor.Failed, "needed by uploads, and by nothing that reads", "--part signing-key", "kms:Sign", func(w *world) {
		key := w.signInKMS(kmstypes.KeySpecEccNistP256, kmstypes.KeyUsageTypeSignVerify)
		_, err := w.admin().PutKeyPolicy(w.t.Context(), &kms.PutKeyPolicyInput{KeyId: &key, Policy: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":["kms:PutKeyPolicy","kms:GetPublicKey"],"Resource":"*"}]}`)})
		w.ok(err)
	}},
	{"known datasets", "directory", doctor.OK, "the newest version seen of scans is 3", "", "", func(w *world) {
		w.doc.Dataset = "scans"
		w.remember("scans", 3)
	}},
	{"known datasets", "directory", doctor.OK, "known of this vault: 1 dataset; not scans", "", "", func(w *world) {
		w.doc.Dataset = "scans"
		w.remember("others", 1)
	}},
	{"known datasets", "directory", doctor.Failed, "cannot be used: it is damaged", "vaultpack trust forget DATASET", "", func(w *world) {
		w.ok(os.WriteFile(w.remember("scans", 3), []byte("{"), 0o600))
	}},
	{"known datasets", "directory", doctor.Warning, "may not be noticed", "XDG_STATE_HOME", "", func(w *world) {
		file := filepath.Join(w.t.TempDir(), "file")
		w.ok(os.WriteFile(file, nil, 0o600))
		w.t.Setenv("VAULTPACK_HOME", file)
	}},
	{"disk", "directory", doctor.Failed, "100.0 MiB are free in", "free some space", "", func(w *world) { w.doc.OnMachine(machine, 100<<20) }},
	{"disk", "directory", doctor.Warning, "500.0 MiB are free in", "free some space", "", func(w *world) { w.doc.OnMachine(machine, 500<<20) }},
	{"memory", "directory", doctor.Failed, "97.7 MiB are available", "--memory", "", func(w *world) {
		w.doc.OnMachine(fstest.MapFS{"proc/meminfo": {Data: []byte("MemAvailable: 100000 kB\n")}}, 100*gib)
	}},
	{"memory", "directory", doctor.Warning, "256.0 MiB are available", "--memory", "", func(w *world) {
		w.doc.OnMachine(fstest.MapFS{"proc/meminfo": machine["proc/meminfo"], "sys/fs/cgroup/memory.max": {Data: []byte("268435456\n")}}, 100*gib)
	}},
	{"memory", "directory", doctor.Skipped, "does not report", "", "", func(w *world) { w.doc.OnMachine(fstest.MapFS{}, 100*gib) }},
	{"binary", "MinIO", doctor.Warning, "linked dynamically", "make binaries", "", func(w *world) { w.doc.Binary = dynamic }},
	{"binary", "MinIO", doctor.Skipped, "how to find it", "", "", func(w *world) { w.doc.Binary = nil }},
	{"binary", "MinIO", doctor.Failed, "linked dynamically", "make binaries", "", func(w *world) {
		w.doc.Binary = dynamic
		w.doc.Role = "arn:aws:iam::123456789012:role/trainer"
	}},
	{"training role", "moto", doctor.Failed, "is not the ARN of a role", "arn:aws:iam", "", func(w *world) { w.doc.Role = "trainer" }},
	{"training role", "moto", doctor.Failed, "there is no role nobody", "vaultpack init", "", func(w *world) { w.doc.Role = "arn:aws:iam::123456789012:role/nobody" }},
	{"training role", "moto", doctor.Failed, "but arn:aws:iam::123456789012:role/there", "111122223333", "", func(w *world) {
		w.role("there", `"Principal":{"Service":"sagemaker.amazonaws.com"}`)
		w.doc.Role = "arn:aws:iam::111122223333:role/there"
	}},
	{"training role", "moto", doctor.Failed, "does not let sagemaker.amazonaws.com", "trust policy", "", func(w *world) {
		w.role("ec2", `"Principal":{"Service":["ec2.amazonaws.com"]}`)
	}},
	{"training role", "moto", doctor.Failed, "denies it to sagemaker", "trust policy", "", func(w *world) {
		w.role("denied", `"Principal":{"Service":"sagemaker.amazonaws.com"}`, `"Principal":{"Service":"sagemaker.amazonaws.com"}`)
	}},
	{"training role", "moto", doctor.Failed, "for jobs of the account 999999999999", "trust policy", "", func(w *world) {
		w.role("other", `"Principal":{"Service":"sagemaker.amazonaws.com"},"Condition":{"StringEquals":{"aws:SourceAccount":["999999999999"]}}`)
	}},
	{"training role", "moto", doctor.Warning, "jobs of any account", "trust policy", "", func(w *world) {
		w.role("any", `"Principal":{"Service":["ec2.amazonaws.com","sagemaker.amazonaws.com"]}`)
	}},
	{"training role", "moto", doctor.Warning, "doctor cannot check", "condition", "", func(w *world) {
		w.role("odd", `"Principal":{"Service":"sagemaker.amazonaws.com"},"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)
	}},
}
