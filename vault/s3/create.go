package s3store

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

	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/vault"
)

// Create is a PUT with If-None-Match: *. If the response is lost, the request
// may still have succeeded. Create then reads the object and compares, so that a
// writer never receives fs.ErrExist for its own object.
func (s *Store) Create(ctx context.Context, name string, data []byte) error {
	key, err := s.key(name)
	if err != nil {
		return err
	}
	star := "*"
	etag, err := s.putIf(ctx, name, data, fs.ErrExist, func(in *s3.PutObjectInput) { in.IfNoneMatch = &star })
	if err != nil {
		return err
	}
	return s.verify(ctx, key, int64(len(data)), etag)
}

// Replace is a PUT with If-Match and the ETag of the object that held old. It
// never deletes, since the object may be the only copy, such as the keyring that
// opens a dataset. If the new object fails the check that follows each write,
// Replace puts the old contents back, and the error says what is stored now.
func (s *Store) Replace(ctx context.Context, name string, old, data []byte) error {
	key, err := s.key(name)
	if err != nil {
		return err
	}
	if err := s.exchange(ctx, name, old, data); err != nil {
		return err
	}
	// If the caller gives up now, the object must still be checked.
	ctx, cancel := cleanup(ctx)
	defer cancel()
	_, bad := s.check(ctx, key, int64(len(data)))
	if bad == nil {
		return nil
	}
	err = s.exchange(ctx, name, data, old)
	var sse *SSEError
	switch {
	case errors.As(bad, &sse):
		sse.Replaced, sse.Restored, sse.Err = true, err == nil, err
		return sse
	case err != nil:
		return fmt.Errorf("%w; its old contents could not be put back, so it may hold the new ones: %w", bad, err)
	}
	return fmt.Errorf("%w; its old contents were put back", bad)
}

// exchange replaces old with data, and does not check how it was stored.
func (s *Store) exchange(ctx context.Context, name string, old, data []byte) error {
	b := &s3Body{s: s, ctx: ctx, end: -1}
	var err error
	if b.key, err = s.key(name); err != nil {
		return err
	}
	if err := b.open(); err != nil {
		return err
	}
	got, err := io.ReadAll(io.LimitReader(b, int64(len(old))+1))
	if err := errors.Join(err, b.Close()); err != nil {
		return err
	}
	if !bytes.Equal(got, old) {
		return fmt.Errorf("%s: %w", s.url(b.key), vault.ErrChanged)
	}
	_, err = s.putIf(ctx, name, data, vault.ErrChanged, func(in *s3.PutObjectInput) { in.IfMatch = &b.etag })
	return err
}

// putIf stores a small object under a condition, and returns an error that wraps refused
// if the condition is not met. It returns the object's ETag, or "" if the response was
// lost.
func (s *Store) putIf(ctx context.Context, name string, data []byte, refused error, condition func(*s3.PutObjectInput)) (etag string, err error) {
	key, err := s.key(name)
	if err != nil {
		return "", err
	}
	doubt := false // an attempt may have stored the object
	for attempt := 1; ; attempt++ {
		etag, err := s.putOnce(ctx, key, data, condition)
		status := awserr.Status(err)
		if err == nil {
			return etag, nil
		}
		if status == http.StatusPreconditionFailed {
			mine := false
			if doubt {
				if mine, err = s.holds(ctx, name, data); err != nil {
					return "", fmt.Errorf("finding out whether %s was stored: %w", s.url(key), err)
				}
			}
			if mine {
				return "", nil
			}
			return "", fmt.Errorf("%s: %w", s.url(key), refused)
		}
		// A conflict means that another request for the name is in progress.
		if status != http.StatusConflict && !s.retryer.IsErrorRetryable(err) {
			return "", s.explain(ctx, opCreate, key, err)
		}
		doubt = doubt || mayHavePersisted(err)
		if attempt < s.set.Attempts {
			if err := s.pause(ctx, attempt, err); err != nil {
				return "", err
			}
			continue
		}
		if mine, herr := s.holds(ctx, name, data); herr == nil && mine {
			return "", nil
		}
		// The existence of another object does not mean that the condition failed: what
		// was in doubt stays in doubt.
		return "", s.explain(ctx, opCreate, key, err)
	}
}

// putOnce makes one attempt.
func (s *Store) putOnce(ctx context.Context, key string, data []byte, condition func(*s3.PutObjectInput)) (etag string, err error) {
	r := bytes.NewReader(data)
	sum, err := s.sum.of(r)
	if err != nil {
		return "", err
	}
	in := &s3.PutObjectInput{
		Bucket: &s.loc.Bucket, Key: &key, Body: r,
		ExpectedBucketOwner: s.owner, RequestPayer: s.payer,
	}
	s.sum.setPut(in, sum)
	condition(in)
	s.protect(in)
	out, err := s.client.PutObject(ctx, in, func(o *s3.Options) { o.Retryer = aws.NopRetryer{} })
	if err != nil {
		return "", err
	}
	return deref(out.ETag), nil
}

func (s *Store) pause(ctx context.Context, attempt int, err error) error {
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

// holds reports whether the object has exactly these bytes. If there is no object, the
// error wraps fs.ErrNotExist.
func (s *Store) holds(ctx context.Context, name string, data []byte) (bool, error) {
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
