package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	awsarn "github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/internal/arn"
	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/internal/awsload"
)

// An operation is what a request does, with the permissions that it needs.
type operation struct {
	doing string
	// action is the IAM action, on the bucket if bucket is true, otherwise on the object.
	// kms are the actions on the key that SSE-KMS needs.
	action string
	bucket bool
	kms    []string
}

var (
	opPut    = operation{doing: "storing", action: "s3:PutObject", kms: []string{"kms:GenerateDataKey"}}
	opCreate = opPut
	// Parts are encrypted under the upload's data key, which is decrypted again
	// for each.
	opCreateMultipart   = operation{doing: "storing", action: "s3:PutObject", kms: []string{"kms:GenerateDataKey", "kms:Decrypt"}}
	opCompleteMultipart = opCreateMultipart
	opAbortMultipart    = operation{doing: "aborting the upload of", action: "s3:AbortMultipartUpload"}
	opGet               = operation{doing: "reading", action: "s3:GetObject", kms: []string{"kms:Decrypt"}}
	opGetVersion        = operation{doing: "reading", action: "s3:GetObjectVersion", kms: []string{"kms:Decrypt"}}
	opVersioning        = operation{doing: "asking whether versions are kept of", action: "s3:GetBucketVersioning", bucket: true}
	opListAll           = operation{doing: "listing the versions of", action: "s3:ListBucketVersions", bucket: true}
	opHead              = operation{doing: "looking at", action: "s3:GetObject"}
	opDelete            = operation{doing: "deleting", action: "s3:DeleteObject"}
	opList              = operation{doing: "listing", action: "s3:ListBucket", bucket: true}
	opDeleteVersion     = operation{doing: "deleting an old version of", action: "s3:DeleteObjectVersion"}
	opListVersions      = operation{doing: "listing the old versions of", action: "s3:ListBucketVersions", bucket: true}
	opListParts         = operation{doing: "looking at the parts of", action: "s3:ListMultipartUploadParts"}
	opListMultipart     = operation{doing: "listing the unfinished uploads of", action: "s3:ListBucketMultipartUploads", bucket: true}
)

// An s3Error says what failed and what to do. It wraps the errors that callers branch on.
type s3Error struct {
	msg   string
	class error // fs.ErrNotExist, fs.ErrPermission or nil
	err   error
}

func (e *s3Error) Error() string { return e.msg }

func (e *s3Error) Unwrap() []error {
	if e.class == nil {
		return []error{e.err}
	}
	return []error{e.class, e.err}
}

// explain turns an error of the SDK into a readable one. It returns nil for nil.
func (s *Store) explain(ctx context.Context, op operation, key string, err error) error {
	if err == nil {
		return nil
	}
	if op.doing == "" {
		op.doing = "storing"
	}
	what := op.doing + " " + s.url(key)
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	if errors.Is(err, errOtherAnswer) {
		return s.noAnswer(key)
	}
	var mfa *awsload.MFAError
	if errors.As(err, &mfa) {
		return &s3Error{msg: fmt.Sprintf("%s: %v", what, mfa), class: fs.ErrPermission, err: err}
	}
	e := &s3Error{err: err}
	var advice string
	switch advice, e.class = s.advice(op, key, err); {
	case e.class == fs.ErrNotExist:
		e.msg = what + ": there is no such object"
	case advice != "":
		e.msg = fmt.Sprintf("%s: %s (%v)", what, advice, err)
	default:
		e.msg = fmt.Sprintf("%s: %v", what, err)
	}
	return e
}

// advice returns what to do about an error, or "" if nothing is known, and the class that
// callers branch on: fs.ErrNotExist, fs.ErrPermission or nil.
func (s *Store) advice(op operation, key string, err error) (advice string, class error) {
	status, code := awserr.Status(err), awserr.Code(err)
	switch {
	case awserr.Credentials(err) == awserr.Expired:
		return "the AWS credentials have expired; get new ones (for SSO: aws sso login), then run the same command again", fs.ErrPermission
	case awserr.Credentials(err) == awserr.None:
		return "no usable AWS credentials were found; log in (aws sso login, aws configure), or set AWS_PROFILE", fs.ErrPermission
	case isRegion(err, status), s.otherRegion(err) != "":
		return s.wrongRegion(err), nil
	case code == "NoSuchBucket" || status == http.StatusNotFound && op.bucket:
		// Not fs.ErrNotExist: it is the bucket that is missing, not the object.
		return fmt.Sprintf("there is no bucket %s; check its name and the account, or create the bucket first", s.loc.Bucket), nil
	case code == "NoSuchUpload":
		return "the server has dropped the unfinished upload; try again", nil
	case status == http.StatusNotFound && (op.kms == nil || op.action == opGet.action || op.action == opGetVersion.action):
		return "", fs.ErrNotExist
	case isClockSkew(err):
		return "the clock of this machine differs too much from the server's; set it (timedatectl set-ntp true), then try again", nil
	case awserr.Credentials(err) == awserr.Unknown:
		return "the server does not know these AWS credentials; check AWS_PROFILE, the keys, and that they are for this endpoint", fs.ErrPermission
	case strings.Contains(code, "DisabledException"):
		return fmt.Sprintf("the KMS key %s is disabled; enable it (aws kms enable-key)", s.set.KMSKey), nil
	case strings.Contains(code, "InvalidStateException") || strings.Contains(code, "KMSInvalidState"):
		return fmt.Sprintf("the KMS key %s cannot be used in its state; if its deletion is scheduled, stop that at once: aws kms cancel-key-deletion", s.set.KMSKey), nil
	case strings.Contains(strings.ToLower(code), "kms") && strings.Contains(code, "NotFound"):
		return fmt.Sprintf("there is no KMS key %s where the bucket is; check kms_key, its region and account", s.set.KMSKey), nil
	case code == "InvalidObjectState":
		return "the object lies in an archive class; restore it first (aws s3api restore-object)", nil
	case code == "InvalidRequest" && strings.Contains(awserr.Message(err), "Server Side Encryption"):
		return "the object is encrypted with a key of its owner's (SSE-C), which vaultpack cannot pass; copy it to another key or bucket without SSE-C", nil
	case status == http.StatusForbidden || code == "AccessDenied":
		return s.permission(op, key, err), fs.ErrPermission
	case status == http.StatusNotImplemented || code == "NotImplemented":
		return s.notImplemented(op, err), nil
	case s.isSumRefused(err, status):
		return fmt.Sprintf("the server does not accept %s checksums with an upload; %s", s.sum, s.otherSum()), nil
	case isGarbled(err):
		return fmt.Sprintf("the data reached the server damaged, in %d attempts; something on the way changes it: try another network, or https", s.set.Attempts), nil
	case status == http.StatusServiceUnavailable:
		return fmt.Sprintf("the server is overloaded, even after %d attempts; try again later, or with less concurrency", s.set.Attempts), nil
	case status >= 500:
		return fmt.Sprintf("the server fails, even after %d attempts; try again later", s.set.Attempts), nil
	}
	return "", nil
}

// permission names the missing permission, or the candidates.
func (s *Store) permission(op operation, key string, err error) string {
	if action, on, named := awserr.Missing(err); named && on != "" {
		return fmt.Sprintf("not allowed: the permission %s on %s is missing", action, on)
	}
	b := fmt.Sprintf("not allowed: this needs the permission %s on %s", op.action, s.arn(op, key))
	if s.tags != "" && op.action == opPut.action {
		b += " and s3:PutObjectTagging on the same"
	}
	if s.set.SSE != SSENone && len(op.kms) > 0 {
		b += fmt.Sprintf(" and %s on %s", strings.Join(op.kms, ", "), s.set.KMSKey)
	}
	if op.action == opGet.action || op.action == opGetVersion.action {
		b += "; without s3:ListBucket on the bucket, S3 says the same of objects that are missing"
	}
	if s.owner != nil {
		b += fmt.Sprintf("; the bucket must also belong to the account %s", *s.owner)
	}
	return b
}

// arn returns the ARN of the object, or of the bucket, as used in policies.
func (s *Store) arn(op operation, key string) string {
	if a, err := awsarn.Parse(s.loc.Bucket); err == nil {
		if op.bucket {
			return a.String()
		}
		return a.String() + "/object/" + key
	}
	bucket := arn.Bucket(arn.Partition(s.region), s.loc.Bucket)
	if op.bucket {
		return bucket
	}
	return bucket + "/" + key
}

func (s *Store) url(key string) string { return "s3://" + s.loc.Bucket + "/" + key }

// otherRegion returns the region that the bucket is in according to the response, if it
// is not the configured one.
func (s *Store) otherRegion(err error) string {
	if region := awserr.BucketRegion(err); region != s.region {
		return region
	}
	return ""
}

// wrongRegion says where the bucket is.
func (s *Store) wrongRegion(err error) string {
	if region := s.otherRegion(err); region != "" {
		return fmt.Sprintf("the bucket is in the region %s, but %s is set; set region: %s", region, s.region, region)
	}
	return fmt.Sprintf("the bucket is not in the region %s or not at this endpoint; set the bucket's region (aws s3api head-bucket --bucket %s)", s.region, s.loc.Bucket)
}

// otherSum says how to continue with a server that refuses the checksum.
func (s *Store) otherSum() string {
	var others []string
	for _, c := range []checksum{sumCRC32, sumSHA256, sumNone} {
		if c != s.sum {
			others = append(others, string(c))
		}
	}
	return fmt.Sprintf("set s3.checksum in vaultpack.yaml to %s (what is stored is sealed, and checked when it is read, in any case)", strings.Join(others, " or "))
}

// notImplemented says which part of the request a server may not implement, and how to do
// without it. If the response names a header, it is that one.
func (s *Store) notImplemented(op operation, err error) string {
	var lacks []string
	put := op.action == opPut.action
	if put && s.sum != sumNone {
		lacks = append(lacks, fmt.Sprintf("a checksum of the kind %s: %s", s.sum, s.otherSum()))
	}
	if put && s.set.SSE != SSENone {
		lacks = append(lacks, "SSE-KMS: to do without, set sse: none")
	}
	if put && s.set.StorageClass != "" {
		lacks = append(lacks, "the storage class "+s.set.StorageClass+": leave storage_class out")
	}
	if put && s.tags != "" {
		lacks = append(lacks, "tags of objects: leave tags out")
	}
	if put {
		lacks = append(lacks, "conditional writes (If-None-Match), without which no vault can lie there")
	} else {
		lacks = append(lacks, "this request ("+op.action+")")
	}
	return "the server does not implement this request, and retrying does not help; it may lack " + strings.Join(lacks, "; or ")
}

// isSumRefused reports whether the server does not accept the kind of checksum, as
// opposed to a wrong checksum.
func (s *Store) isSumRefused(err error, status int) bool {
	if s.sum == sumNone || status < 400 || status >= 500 {
		return false
	}
	switch awserr.Code(err) {
	case "InvalidArgument", "InvalidRequest", "InvalidHeader", "UnsupportedArgument", "BadRequest", "":
	default:
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "checksum") || strings.Contains(text, "crc64")
}

func isRegion(err error, status int) bool {
	switch awserr.Code(err) {
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "IncorrectEndpoint":
		return true
	}
	return status == http.StatusMovedPermanently
}

// isClockSkew reports whether an error comes from this machine's clock, or the server's.
// The response to a HEAD has no body to say so, but it has a date. The SDK corrects the
// clock by that date for the next attempt.
func isClockSkew(err error) bool {
	if awserr.Is(err, "RequestTimeTooSkewed", "RequestInTheFuture") {
		return true
	}
	r := awserr.Response(err)
	if r == nil || r.StatusCode != http.StatusForbidden || r.Request == nil || r.Request.Method != http.MethodHead {
		return false
	}
	served, err := http.ParseTime(r.Header.Get("Date"))
	signed, serr := time.Parse("20060102T150405Z", r.Request.Header.Get("X-Amz-Date"))
	return err == nil && serr == nil && served.Sub(signed).Abs() > 10*time.Minute // S3 tolerates 15
}

// isBroken reports whether a response ended early, in which case the SDK does not retry.
func isBroken(err error) bool {
	var de *smithy.DeserializationError
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &de)
}

// isGarbled reports whether a request's body did not match its checksums. The SDK does
// not retry then, although that helps if the network was the cause.
func isGarbled(err error) bool {
	switch awserr.Code(err) {
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch",
		"MalformedXML": // the SDK's is well-formed
		return true
	}
	return false
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
