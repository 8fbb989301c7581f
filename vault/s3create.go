package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Create is a PUT with If-None-Match: *. A request whose answer is lost may have
// been done; whether it was is found out by reading the object and comparing,
// so that a writer is never told that it lost against itself.
func (s *S3) Create(ctx context.Context, name string, data []byte) error {
	key, err := s.key(name)
	if err != nil {
		return err
	}
	doubt := false // an attempt may have stored the object
	for attempt := 1; ; attempt++ {
		err := s.putNew(ctx, key, data)
		status := httpStatus(err)
		if err == nil {
			break
		}
		if status == http.StatusPreconditionFailed {
			mine := false
			if doubt {
				if mine, err = s.holds(ctx, name, data); err != nil {
					return fmt.Errorf("finding out whether %s was stored: %w", s.url(key), err)
				}
			}
			if mine {
				break
			}
			return fmt.Errorf("%s: %w", s.url(key), fs.ErrExist)
		}
		// A conflict means that another request for the name is under way.
		if status != http.StatusConflict && !s.retryer.IsErrorRetryable(err) {
			return s.explain(ctx, opCreate, key, err)
		}
		doubt = doubt || mayHavePersisted(err)
		if attempt < s.set.Attempts {
			if err := s.pause(ctx, attempt, err); err != nil {
				return err
			}
			continue
		}
		mine, rerr := s.holds(ctx, name, data)
		if rerr == nil && mine {
			break
		}
		if rerr == nil {
			return fmt.Errorf("%s: %w", s.url(key), fs.ErrExist)
		}
		return s.explain(ctx, opCreate, key, err)
	}
	return s.verify(ctx, key, int64(len(data)))
}

// putNew makes one attempt.
func (s *S3) putNew(ctx context.Context, key string, data []byte) error {
	r := bytes.NewReader(data)
	sum, err := sumPart(r)
	if err != nil {
		return err
	}
	crc, star := encodeCRC(sum.crc), "*"
	in := &s3.PutObjectInput{
		Bucket: &s.loc.Bucket, Key: &key, Body: r, IfNoneMatch: &star, ChecksumCRC64NVME: &crc,
		ExpectedBucketOwner: s.owner, RequestPayer: s.payer,
	}
	s.protect(in)
	_, err = s.client.PutObject(ctx, in, func(o *s3.Options) { o.Retryer = aws.NopRetryer{} })
	return err
}

func (s *S3) pause(ctx context.Context, attempt int, err error) error {
	d, derr := s.retryer.RetryDelay(attempt, err)
	if derr != nil {
		d = s.set.MaxBackoff
	}
	s.meter.retries.Add(1)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// holds tells whether the object has exactly these bytes. That there is none is
// an error that wraps fs.ErrNotExist.
func (s *S3) holds(ctx context.Context, name string, data []byte) (bool, error) {
	r, err := s.Get(ctx, name, 0, -1)
	if err != nil {
		return false, err
	}
	b, err := io.ReadAll(io.LimitReader(r, int64(len(data))+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return false, err
	}
	return bytes.Equal(b, data), nil
}
