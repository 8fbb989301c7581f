package s3store

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/internal/awserr"
)

// CountOld returns how many versions the bucket keeps of objects below prefix
// that were deleted or replaced. In a bucket with versioning, Delete leaves such
// versions.
func (s *Store) CountOld(ctx context.Context, prefix string) (n int, err error) {
	for _, err := range s.old(ctx, prefix) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// DeleteOld deletes the versions that CountOld counts, and returns how many it
// deleted. If Object Lock or a policy protects one, DeleteOld continues with the
// others and returns the first error. Delete markers remain: without its marker, a
// version that could not be deleted would become the current one again.
func (s *Store) DeleteOld(ctx context.Context, prefix string) (deleted int, err error) {
	for v, lerr := range s.old(ctx, prefix) {
		if lerr != nil {
			return deleted, lerr
		}
		_, derr := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.loc.Bucket, Key: &v.key, VersionId: &v.id,
			ExpectedBucketOwner: s.owner, RequestPayer: s.payer})
		switch {
		case derr == nil || awserr.Status(derr) == http.StatusNotFound:
			deleted++
		case ctx.Err() != nil:
			return deleted, s.explain(ctx, opDeleteVersion, v.key, derr)
		case err == nil:
			err = s.explain(ctx, opDeleteVersion, v.key, derr)
		}
	}
	return deleted, err
}

type oldVersion struct{ key, id string }

// old yields the versions below prefix that are not current.
func (s *Store) old(ctx context.Context, prefix string) iter.Seq2[oldVersion, error] {
	if s == nil || s.client == nil {
		return func(yield func(oldVersion, error) bool) { yield(oldVersion{}, errNotOpened) }
	}
	full := s.loc.Prefix + prefix
	in := &s3.ListObjectVersionsInput{Bucket: &s.loc.Bucket, Prefix: &full, ExpectedBucketOwner: s.owner, RequestPayer: s.payer}
	return func(yield func(oldVersion, error) bool) {
		for {
			page, err := s.client.ListObjectVersions(ctx, in, answeredBy("ListVersionsResult"))
			if err != nil {
				yield(oldVersion{}, s.explain(ctx, opListVersions, full, err))
				return
			}
			if page.IsTruncated == nil && page.MaxKeys == nil && page.Name == nil {
				yield(oldVersion{}, s.noAnswer(full))
				return
			}
			for _, v := range page.Versions {
				if deref(v.IsLatest) {
					continue
				}
				if !strings.HasPrefix(deref(v.Key), full) {
					yield(oldVersion{}, fmt.Errorf("listing the old versions of %s: the server gives the object %q", s.url(full), deref(v.Key)))
					return
				}
				if !yield(oldVersion{deref(v.Key), deref(v.VersionId)}, nil) {
					return
				}
			}
			if !deref(page.IsTruncated) {
				return
			}
			if deref(page.NextKeyMarker) == deref(in.KeyMarker) && deref(page.NextVersionIdMarker) == deref(in.VersionIdMarker) {
				yield(oldVersion{}, fmt.Errorf("listing the old versions of %s: the server does not continue after a page", s.url(full)))
				return
			}
			in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
		}
	}
}
