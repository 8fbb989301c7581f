package s3store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/vault"
)

// List makes one request for up to a thousand objects.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[vault.Object, error] {
	return func(yield func(vault.Object, error) bool) {
		last := ""
		for page, err := range s.pages(ctx, prefix, "") {
			if err != nil {
				yield(vault.Object{}, err)
				return
			}
			for _, o := range page.Contents {
				name, ok := strings.CutPrefix(deref(o.Key), s.loc.Prefix)
				if !ok || !strings.HasPrefix(name, prefix) || last != "" && name <= last {
					yield(vault.Object{}, fmt.Errorf("listing %s: the server gives the object %q out of order", s.url(s.loc.Prefix+prefix), deref(o.Key)))
					return
				}
				last = name
				if strings.HasSuffix(name, "/") {
					continue // consoles make these for an empty folder
				}
				if !yield(vault.Object{Name: name, Size: deref(o.Size), Modified: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// Folders makes one request for up to a thousand names.
func (s *Store) Folders(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	last := ""
	for page, err := range s.pages(ctx, prefix, "/") {
		if err != nil {
			return nil, err
		}
		for _, p := range page.CommonPrefixes {
			folder, ok := strings.CutPrefix(deref(p.Prefix), s.loc.Prefix+prefix)
			name := strings.TrimSuffix(folder, "/")
			if !ok || strings.Contains(name, "/") || last != "" && folder <= last {
				return nil, fmt.Errorf("listing %s: the server gives the folder %q out of order", s.url(s.loc.Prefix+prefix), deref(p.Prefix))
			}
			last = folder
			if name != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names) // "a/" is after "a-b/", but "a" before "a-b"
	return names, nil
}

// pages yields the pages of a listing.
func (s *Store) pages(ctx context.Context, prefix, delimiter string) iter.Seq2[*s3.ListObjectsV2Output, error] {
	return func(yield func(*s3.ListObjectsV2Output, error) bool) {
		if s == nil || s.client == nil {
			yield(nil, errNotOpened)
			return
		}
		full := s.loc.Prefix + prefix
		in := &s3.ListObjectsV2Input{Bucket: &s.loc.Bucket, Prefix: &full, ExpectedBucketOwner: s.owner, RequestPayer: s.payer}
		if delimiter != "" {
			in.Delimiter = &delimiter
		}
		for {
			page, err := s.client.ListObjectsV2(ctx, in, answeredBy("ListBucketResult"))
			if err != nil {
				yield(nil, s.explain(ctx, opList, full, err))
				return
			}
			if page.IsTruncated == nil && page.KeyCount == nil && page.MaxKeys == nil && page.Name == nil {
				yield(nil, s.noAnswer(full))
				return
			}
			if !yield(page, nil) || !deref(page.IsTruncated) {
				return
			}
			next := deref(page.NextContinuationToken)
			if next == "" || next == deref(in.ContinuationToken) {
				yield(nil, fmt.Errorf("listing %s: the server does not continue after a page", s.url(full)))
				return
			}
			in.ContinuationToken = &next
		}
	}
}

// Delete removes an object. In a bucket with versioning, its versions remain.
func (s *Store) Delete(ctx context.Context, name string) error {
	key, err := s.key(name)
	if err != nil {
		return err
	}
	_, err = s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.loc.Bucket, Key: &key,
		ExpectedBucketOwner: s.owner, RequestPayer: s.payer})
	if err = s.explain(ctx, opDelete, key, err); err == nil || isMissing(err) {
		return nil
	}
	return err
}

// Sweep aborts the multipart uploads below prefix that are older than the setting
// StaleUploads: nobody continues them, but the data that they hold is billed.
func (s *Store) Sweep(ctx context.Context, prefix string) error {
	if s == nil || s.client == nil {
		return errNotOpened
	}
	_, err := s.AbortStale(ctx, prefix, s.set.StaleUploads)
	return err
}

// StaleAge returns the setting StaleUploads.
func (s *Store) StaleAge() time.Duration { return s.set.StaleUploads }

// AbortStale aborts the multipart uploads below prefix that were begun at least
// age ago, and returns how many it aborted. Only their age protects the uploads
// of live writers: a pack takes minutes.
func (s *Store) AbortStale(ctx context.Context, prefix string, age time.Duration) (aborted int, err error) {
	for u, err := range s.stale(ctx, prefix, age) {
		if err != nil {
			return aborted, err
		}
		_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.loc.Bucket, Key: u.Key,
			UploadId: u.UploadId, ExpectedBucketOwner: s.owner, RequestPayer: s.payer})
		if awserr.Status(err) == http.StatusNotFound {
			continue // finished or aborted in the meantime
		}
		if err != nil {
			return aborted, s.explain(ctx, opAbortMultipart, deref(u.Key), err)
		}
		aborted++
	}
	return aborted, nil
}

// CountStale returns how many multipart uploads AbortStale would abort.
func (s *Store) CountStale(ctx context.Context, prefix string, age time.Duration) (n int, err error) {
	for _, err := range s.stale(ctx, prefix, age) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// MeasureStale returns how many multipart uploads AbortStale would abort, and
// how many bytes their parts hold. If the parts of one cannot be listed, n is
// still correct, and the error says why bytes is unknown.
func (s *Store) MeasureStale(ctx context.Context, prefix string, age time.Duration) (n int, bytes int64, err error) {
	var unknown error
	for u, err := range s.stale(ctx, prefix, age) {
		if err != nil {
			return 0, 0, err
		}
		pages := s3.NewListPartsPaginator(s.client, &s3.ListPartsInput{Bucket: &s.loc.Bucket, Key: u.Key,
			UploadId: u.UploadId, ExpectedBucketOwner: s.owner, RequestPayer: s.payer})
		gone := false
		for unknown == nil && pages.HasMorePages() {
			page, err := pages.NextPage(ctx, answeredBy("ListPartsResult"))
			if gone = awserr.Status(err) == http.StatusNotFound; gone {
				break // finished or aborted in the meantime
			}
			if err != nil {
				unknown = s.explain(ctx, opListParts, deref(u.Key), err)
				break
			}
			for _, p := range page.Parts {
				bytes += deref(p.Size)
			}
		}
		if !gone {
			n++
		}
	}
	return n, bytes, unknown
}

// stale yields the multipart uploads below prefix that were begun at least age ago.
func (s *Store) stale(ctx context.Context, prefix string, age time.Duration) iter.Seq2[types.MultipartUpload, error] {
	if s == nil || s.client == nil {
		return func(yield func(types.MultipartUpload, error) bool) { yield(types.MultipartUpload{}, errNotOpened) }
	}
	full := s.loc.Prefix + prefix
	begun := time.Now().Add(-age)
	in := &s3.ListMultipartUploadsInput{Bucket: &s.loc.Bucket, Prefix: &full, ExpectedBucketOwner: s.owner, RequestPayer: s.payer}
	if s.custom {
		// MinIO treats a prefix as the full name of one object, but without one it lists
		// the whole bucket.
		in.Prefix = nil
	}
	return func(yield func(types.MultipartUpload, error) bool) {
		for {
			page, err := s.client.ListMultipartUploads(ctx, in, answeredBy("ListMultipartUploadsResult"))
			if err != nil {
				yield(types.MultipartUpload{}, s.explain(ctx, opListMultipart, full, err))
				return
			}
			for _, u := range page.Uploads {
				if strings.HasPrefix(deref(u.Key), full) && !aws.ToTime(u.Initiated).After(begun) && !yield(u, nil) {
					return
				}
			}
			if !deref(page.IsTruncated) {
				return
			}
			if deref(page.NextKeyMarker) == deref(in.KeyMarker) && deref(page.NextUploadIdMarker) == deref(in.UploadIdMarker) {
				yield(types.MultipartUpload{}, errors.New("listing unfinished uploads: the server does not continue after a page"))
				return
			}
			in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
		}
	}
}
