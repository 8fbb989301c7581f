package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// Put streams what write writes to the bucket: with one request if the object is
// smaller than a part, and as a multipart upload otherwise. The bytes of a part are
// kept until the server has acknowledged it, so a retry sends the same bytes.
func (s *Store) Put(ctx context.Context, name string, write func(io.Writer) error) (err error) {
	key, err := s.key(name)
	if err != nil {
		return err
	}
	pr, pw := io.Pipe()
	// When the context ends, this releases whoever is waiting on the pipe.
	defer context.AfterFunc(ctx, func() { pw.CloseWithError(ctx.Err()) })()
	sent := workers.Beside(func() error {
		err := errors.New("the upload panicked")
		defer func() { pr.CloseWithError(err) }() // ends a write in progress
		err = s.upload(ctx, key, pr)
		return err
	})
	werr := errors.New("the writer of the object panicked") // then nothing is stored either
	defer func() {
		pw.CloseWithError(werr) // nil ends the object
		uerr := sent()
		switch {
		case uerr == nil && werr == nil:
			err = nil
		case ctx.Err() != nil:
			err = fmt.Errorf("storing %s: %w", s.url(key), ctx.Err())
		case uerr == nil || errors.Is(uerr, werr):
			err = werr
		default:
			err = uerr
		}
	}()
	werr = write(ctxio.Writer(ctx, pw))
	if werr == nil {
		werr = ctx.Err()
	}
	return werr
}

// upload sends one object and does not return before its outcome is known.
func (s *Store) upload(ctx context.Context, key string, body io.Reader) error {
	in := &s3.PutObjectInput{
		Bucket: &s.loc.Bucket, Key: &key, Body: body,
		ChecksumAlgorithm:   s.sum.algorithm(),
		ExpectedBucketOwner: s.owner, RequestPayer: s.payer,
	}
	s.protect(in)
	o := &oneUpload{s: s}
	err := s.up.send(ctx, in, o)
	if err != nil {
		if !o.doubt || !mayHavePersisted(err) || !s.stored(ctx, key, o) {
			o.abort(ctx, key)
			return s.explain(ctx, o.op, key, err)
		}
	}
	return s.verify(ctx, key, o.size, "")
}

// protect requests server-side encryption and sets everything else that every write
// needs.
func (s *Store) protect(in *s3.PutObjectInput) {
	if s.set.SSE != SSENone {
		in.ServerSideEncryption = types.ServerSideEncryptionAwsKms
		in.SSEKMSKeyId = &s.set.KMSKey
		bucketKey := true
		in.BucketKeyEnabled = &bucketKey
	}
	if s.tags != "" {
		in.Tagging = &s.tags
	}
}

// An SSEError reports that the server did not encrypt an object as requested.
// Some servers accept the request's headers and ignore them.
type SSEError struct {
	Object  string // the object, as an s3:// URL
	WantKey string
	GotSSE  string // empty if there was none
	GotKey  string
	// Removed reports whether the object was deleted again.
	Removed bool
	// Replaced reports whether the object existed before with other contents. Such
	// an object is not deleted; Restored reports whether the old contents were
	// restored.
	Replaced, Restored bool
	// Err says why the object could not be deleted, or why the old contents could not be
	// restored.
	Err error
}

func (e *SSEError) Error() string {
	got := "no server-side encryption"
	if e.GotSSE != "" {
		got = fmt.Sprintf("%s with the key %q", e.GotSSE, e.GotKey)
	}
	end := "it was deleted again"
	switch {
	case e.Replaced && e.Restored:
		end = "its old contents were put back, which may lie there without it too"
	case e.Replaced:
		end = fmt.Sprintf("its old contents could not be put back (%v), so it may hold the new ones", e.Err)
	case !e.Removed:
		end = fmt.Sprintf("it could not be deleted (%v): delete it yourself", e.Err)
	}
	return fmt.Sprintf("%s was stored with %s instead of SSE-KMS with the key %s, and %s; "+
		"use a server that supports SSE-KMS, or set sse: none", e.Object, got, e.WantKey, end)
}

func (e *SSEError) Unwrap() error { return e.Err }

// check examines what was stored. If the server has not encrypted it as requested, the
// error is an [*SSEError].
func (s *Store) check(ctx context.Context, key string, size int64) (*s3.HeadObjectOutput, error) {
	head, err := s.head(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("checking what was stored: %w", s.explain(ctx, opHead, key, err))
	}
	if got := deref(head.ContentLength); got != size {
		return nil, fmt.Errorf("%s was stored with %d bytes instead of %d: another writer is writing it, or the server is broken", s.url(key), got, size)
	}
	if s.set.SSE == SSENone || head.ServerSideEncryption == types.ServerSideEncryptionAwsKms &&
		sameKey(deref(head.SSEKMSKeyId), s.set.KMSKey) {
		return head, nil
	}
	return head, &SSEError{Object: s.url(key), WantKey: s.set.KMSKey,
		GotSSE: string(head.ServerSideEncryption), GotKey: deref(head.SSEKMSKeyId)}
}

// verify is like check, for a new object, and deletes it if the server has not encrypted
// it. The ETag, if known, distinguishes it from another writer's object.
func (s *Store) verify(ctx context.Context, key string, size int64, etag string) error {
	head, err := s.check(ctx, key, size)
	var bad *SSEError
	if !errors.As(err, &bad) {
		return err
	}
	if got := deref(head.ETag); etag != "" && strings.Trim(got, `"`) != strings.Trim(etag, `"`) {
		bad.Err = errors.New("it is another writer's by now")
		return bad
	}
	ctx, cancel := cleanup(ctx)
	defer cancel()
	_, err = s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.loc.Bucket, Key: &key, VersionId: head.VersionId,
		ExpectedBucketOwner: s.owner, RequestPayer: s.payer})
	if err != nil {
		bad.Err = s.explain(ctx, opDelete, key, err)
	}
	bad.Removed = err == nil
	return bad
}

// sameKey compares the key that a server reports with the requested one. MinIO reports
// the name that it was given in the form of an ARN.
func sameKey(got, want string) bool {
	const minio = "arn:aws:kms:"
	return got != "" && (got == want || got == minio+want && !strings.Contains(want, ":"))
}

func (s *Store) headInput(key string) *s3.HeadObjectInput {
	return &s3.HeadObjectInput{Bucket: &s.loc.Bucket, Key: &key, ExpectedBucketOwner: s.owner, RequestPayer: s.payer}
}

func (s *Store) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	return s.client.HeadObject(ctx, s.headInput(key))
}

// headWithChecksum is like head, and also requests the object's checksum.
func (s *Store) headWithChecksum(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	in := s.headInput(key)
	in.ChecksumMode = types.ChecksumModeEnabled
	return s.client.HeadObject(ctx, in)
}

// stored reports, after an upload whose outcome is in doubt, whether the object exists
// nevertheless. Its checksum identifies it: names of packs contain 32 random bytes,
// and under other names it does not matter who stored the same bytes. Without a
// checksum the object counts as missing, and the next run sends it again.
func (s *Store) stored(ctx context.Context, key string, o *oneUpload) bool {
	head, err := s.headWithChecksum(ctx, key)
	return err == nil && deref(head.ContentLength) == o.size && o.sum != "" && s.sum.in(head) == o.sum
}

// mayHavePersisted reports whether a failed write may have succeeded. A response of
// class 4xx means that it did not, unless it answers a retry; so does a response that
// the server does not implement the request.
func mayHavePersisted(err error) bool {
	switch code := awserr.Status(err); {
	case code == http.StatusNotFound, code == http.StatusRequestTimeout, code == http.StatusConflict:
		return true
	case code == http.StatusNotImplemented:
		return false
	default:
		return code < 400 || code >= 500
	}
}

// A oneUpload stands between the manager and the client for one upload. It adds the
// checksum to every request, and remembers what the manager does not report when it
// fails.
type oneUpload struct {
	s        *Store
	op       operation
	uploadID string
	parts    partSums
	size     int64
	sum      string // the checksum of the object as S3 writes it, or ""
	doubt    bool   // the final request, which makes the object, was sent
}

// unsigned excludes the body from the signature if TLS protects it. Over http, the SDK
// signs its SHA-256.
func (o *oneUpload) unsigned(opts []func(*s3.Options)) []func(*s3.Options) {
	if !o.s.https {
		return opts
	}
	return append(opts[:len(opts):len(opts)], s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
}

func (o *oneUpload) PutObject(ctx context.Context, in *s3.PutObjectInput, opts ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	o.op = opPut
	sum, err := o.s.sum.of(in.Body)
	if err != nil {
		return nil, err
	}
	o.size, o.sum = sum.size, deref(sum.text)
	o.s.sum.setPut(in, sum)
	in.StorageClass = o.s.storageClass(o.size)
	o.doubt = true
	return o.s.client.PutObject(ctx, in, o.unsigned(opts)...)
}

func (o *oneUpload) CreateMultipartUpload(ctx context.Context, in *s3.CreateMultipartUploadInput, opts ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error) {
	o.op = opCreateMultipart
	in.ChecksumType = o.s.sum.kind()
	in.StorageClass = o.s.storageClass(classMinSize) // a part has more bytes
	out, err := o.s.client.CreateMultipartUpload(ctx, in, opts...)
	if err == nil {
		o.uploadID = deref(out.UploadId)
	}
	return out, err
}

// UploadPart is called from several goroutines.
func (o *oneUpload) UploadPart(ctx context.Context, in *s3.UploadPartInput, opts ...func(*s3.Options)) (*s3.UploadPartOutput, error) {
	sum, err := o.s.sum.of(in.Body)
	if err != nil {
		return nil, err
	}
	o.parts.add(deref(in.PartNumber), sum)
	o.s.sum.setPart(in, sum)
	return o.s.client.UploadPart(ctx, in, o.unsigned(opts)...)
}

func (o *oneUpload) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput, opts ...func(*s3.Options)) (*s3.CompleteMultipartUploadOutput, error) {
	o.op = opCompleteMultipart
	o.sum, o.size = o.s.sum.setComplete(in, &o.parts)
	o.doubt = true
	out, err := o.s.client.CompleteMultipartUpload(ctx, in, opts...)
	if err == nil {
		o.uploadID = "" // there is nothing to abort
	}
	return out, err
}

func (o *oneUpload) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput, opts ...func(*s3.Options)) (*s3.AbortMultipartUploadOutput, error) {
	return o.s.client.AbortMultipartUpload(ctx, in, opts...)
}

// abort frees the space of the parts, also after a cancellation. If it fails, Sweep does
// it later.
func (o *oneUpload) abort(ctx context.Context, key string) {
	if o.uploadID == "" {
		return
	}
	ctx, cancel := cleanup(ctx)
	defer cancel()
	o.s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &o.s.loc.Bucket, Key: &key, UploadId: &o.uploadID,
		ExpectedBucketOwner: o.s.owner, RequestPayer: o.s.payer})
}

func (s *Store) storageClass(size int64) types.StorageClass {
	if size < classMinSize {
		return ""
	}
	return types.StorageClass(s.set.StorageClass)
}

// cleanup returns a context for undoing what a cancelled call began.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
