package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/minio/crc64nvme"

	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/vault"
)

// Get reads an object, or a range of one. If a body breaks off, Get resumes at the
// offset reached, as long as the ETag shows that the object is the same. A whole
// object is checked against its CRC64NVME after it has been read: on a mismatch the
// last Read returns an error instead of io.EOF. A range has no checksum; the reader
// of a sealed file authenticates each segment.
func (s *Store) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	key, err := s.key(name)
	if err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fmt.Errorf("reading %s: the offset %d is negative", s.url(key), off)
	}
	if n == 0 {
		if _, err := s.head(ctx, key); err != nil {
			return nil, s.explain(ctx, opHead, key, err)
		}
		return http.NoBody, nil
	}
	b := &s3Body{s: s, ctx: ctx, key: key, off: off, end: -1, ranged: off > 0 || n > 0}
	if n > 0 {
		b.end = off + n
	}
	err = b.open()
	if awserr.Status(err) == http.StatusRequestedRangeNotSatisfiable {
		return http.NoBody, nil // the object ends before off
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// An s3Body reads a range of an object through as many requests as it takes.
type s3Body struct {
	s      *Store
	ctx    context.Context
	key    string
	pin    *vault.Pinned // the state that the object has to be in, nil for whatever it is in
	etag   string        // of the object that was opened first
	ranged bool
	off    int64 // the next byte
	end    int64 // the byte after the last, or -1 for the object's end if that is unknown
	rc     io.ReadCloser
	err    error // sticky

	want string // the CRC64NVME of a whole object, if the server sends it
	crc  uint64 // the CRC of what was read so far

	failures int   // since the last progress
	failedAt int64 // the offset then
}

// progress is how many bytes a body must advance after a failure for the count of
// failures to be reset. It limits the number of requests for an object.
const progress = 1 << 20

func (b *s3Body) Read(p []byte) (int, error) {
	for {
		if b.err != nil {
			return 0, b.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		if b.rc == nil {
			if b.err = b.open(); b.err != nil {
				continue
			}
		}
		if b.off >= b.end {
			b.err = b.finish()
			continue
		}
		n, err := b.rc.Read(p[:min(int64(len(p)), b.end-b.off)])
		b.off += int64(n)
		if b.want != "" {
			b.crc = crc64nvme.Update(b.crc, p[:n])
		}
		if err != nil && b.off < b.end {
			b.failed(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// failed decides whether a broken body is resumed.
func (b *s3Body) failed(err error) {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	b.rc.Close()
	b.rc = nil
	if b.off >= b.failedAt+progress {
		b.failures = 0
	}
	b.failedAt = b.off
	b.failures++
	if b.failures >= b.s.set.Attempts || b.ctx.Err() != nil {
		b.err = b.s.explain(b.ctx, opGet, b.key, err)
		return
	}
	if perr := b.s.pause(b.ctx, b.failures, err); perr != nil {
		b.err = b.s.explain(b.ctx, opGet, b.key, perr)
	}
}

// finish returns the error for the Read after the last byte.
func (b *s3Body) finish() error {
	if b.want != "" && encodeCRC(b.crc) != b.want {
		return fmt.Errorf("%s did not arrive as it was stored: its CRC64NVME is %s, not %s; try again; if this persists, the object is damaged",
			b.s.url(b.key), encodeCRC(b.crc), b.want)
	}
	return io.EOF
}

// open requests the remaining bytes.
func (b *s3Body) open() error {
	in := &s3.GetObjectInput{Bucket: &b.s.loc.Bucket, Key: &b.key, ExpectedBucketOwner: b.s.owner, RequestPayer: b.s.payer}
	first := b.etag == ""
	ranged := b.ranged || b.off > 0
	if ranged {
		r := fmt.Sprintf("bytes=%d-", b.off)
		if b.end >= 0 {
			r += fmt.Sprint(b.end - 1)
		}
		in.Range = &r
	}
	if !first {
		in.IfMatch = &b.etag
	}
	op := opGet
	if b.pin != nil && b.pin.Version != "" {
		in.VersionId, op = &b.pin.Version, opGetVersion
	}
	out, err := b.s.client.GetObject(b.ctx, in, s3.WithAPIOptions(smithyhttp.AddHeaderValue("X-Amz-Checksum-Mode", "ENABLED")))
	if awserr.Status(err) == http.StatusPreconditionFailed {
		return &s3Error{fmt.Sprintf("%s was replaced while it was read; try again: %v", b.s.url(b.key), err), vault.ErrReplaced, err}
	}
	if err != nil {
		return b.s.explain(b.ctx, op, b.key, err)
	}
	if err := b.accept(out, ranged); err != nil {
		out.Body.Close()
		return fmt.Errorf("reading %s: %w", b.s.url(b.key), err)
	}
	b.rc = out.Body
	return nil
}

// accept checks that what the server claims to send is what was requested.
func (b *s3Body) accept(out *s3.GetObjectOutput, ranged bool) error {
	length := deref(out.ContentLength)
	if out.ContentLength == nil || length < 0 {
		return errors.New("the server does not send the content's length")
	}
	end, whole := length, length
	if ranged {
		var from, to, size int64
		if _, err := fmt.Sscanf(deref(out.ContentRange), "bytes %d-%d/%d", &from, &to, &size); err != nil || from != b.off || to-from+1 != length {
			return fmt.Errorf("the server was asked for the bytes from %d, but sends %q with %d bytes", b.off, deref(out.ContentRange), length)
		}
		if end = to + 1; end != size && end != b.end {
			return fmt.Errorf("the server sends less than it was asked for: %q", deref(out.ContentRange))
		}
		whole = size
	}
	if b.pin != nil && whole != b.pin.Size {
		return fmt.Errorf("%w: it has %d bytes, and had %d when it was listed", vault.ErrReplaced, whole, b.pin.Size)
	}
	if b.etag != "" {
		if end != b.end || deref(out.ETag) != b.etag {
			return fmt.Errorf("%w while it was read", vault.ErrReplaced)
		}
		if !ranged {
			b.want = deref(out.ChecksumCRC64NVME)
		}
		return nil
	}
	if b.end >= 0 && end > b.end {
		return errors.New("the server sends more than it was asked for")
	}
	b.etag, b.end = deref(out.ETag), end
	if !ranged {
		b.want = deref(out.ChecksumCRC64NVME) // always the one of the full object
	}
	return nil
}

func (b *s3Body) Close() error {
	if b.err == nil {
		b.err = errors.New("read after close")
	}
	if b.rc == nil {
		return nil
	}
	rc := b.rc
	b.rc = nil
	return rc.Close()
}

// Stat is a HEAD.
func (s *Store) Stat(ctx context.Context, name string) (vault.Object, error) {
	key, err := s.key(name)
	if err != nil {
		return vault.Object{}, err
	}
	head, err := s.head(ctx, key)
	if err != nil {
		return vault.Object{}, s.explain(ctx, opHead, key, err)
	}
	return vault.Object{Name: name, Size: deref(head.ContentLength), Modified: aws.ToTime(head.LastModified)}, nil
}
