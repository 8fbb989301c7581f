package serve_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vaultpack/vaultpack/serve"
)

// Versions are buckets of their own, and versions of objects; a list of them has what each
// version has, page by page.
func TestS3Versions(t *testing.T) {
	s := newStand(t)
	s.upload("My_Set", func(src string) {
		for _, name := range []string{"a", "b/1", "b/2", "gone"} {
			write(t, filepath.Join(src, name), []byte(name+" of 1"))
		}
	})
	s.upload("My_Set", func(src string) { write(t, filepath.Join(src, "a"), []byte("a of version 2")) })
	s.upload("My_Set", func(src string) {
		must(t, os.Remove(filepath.Join(src, "gone")))
		write(t, filepath.Join(src, "new"), []byte("new of 3"))
	})
	s.start()
	c := s.client()
	bucket := serve.BucketName("My_Set")
	list, err := c.ListBuckets(t.Context(), &s3.ListBucketsInput{})
	must(t, err)
	if len(list.Buckets) != 1 || *list.Buckets[0].Name != bucket {
		t.Errorf("%v", list.Buckets)
	}
	read := func(bucket, key, version string) string {
		in := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
		if version != "" {
			in.VersionId = &version
		}
		o, err := c.GetObject(t.Context(), in)
		var api smithy.APIError
		if errors.As(err, &api) {
			return api.ErrorCode()
		}
		must(t, err)
		defer o.Body.Close()
		b, err := io.ReadAll(o.Body)
		must(t, err)
		return string(b) + " " + *o.VersionId
	}
	for _, q := range [][4]string{
		{bucket, "a", "", "a of version 2 3"}, {"My_Set", "a", "", "a of version 2 3"}, {bucket, "a", "1", "a of 1 1"}, {bucket + ".v1", "a", "", "a of 1 1"},
		{"My_Set.v2", "gone", "", "gone of 1 2"}, {bucket + ".v1", "a", "1", "a of 1 1"}, {bucket + ".v1", "a", "2", "NoSuchVersion"}, {bucket, "a", "4", "NoSuchVersion"},
		{bucket, "a", "x", "NoSuchVersion"}, {bucket, "gone", "", "NoSuchKey"}, {bucket + ".v4", "a", "", "NoSuchBucket"}, {bucket + ".v0", "a", "", "NoSuchBucket"}, {"other", "a", "", "NoSuchBucket"},
	} {
		if got := read(q[0], q[1], q[2]); got != q[3] {
			t.Errorf("%q: %s", q[:3], got)
		}
	}
	want := []string{"a 3 true", "a 2 false", "a 1 false", "b/1 3 true", "b/1 2 false", "b/1 1 false", "b/2 3 true", "b/2 2 false", "b/2 1 false",
		"gone 3 true deleted", "gone 2 false", "gone 1 false", "new 3 true"}
	for size := range int32(15) {
		var got []string
		in := &s3.ListObjectVersionsInput{Bucket: &bucket, MaxKeys: aws.Int32(size + 1)}
		for pages := s3.NewListObjectVersionsPaginator(c, in); pages.HasMorePages(); {
			page, err := pages.NextPage(t.Context())
			must(t, err)
			var here []string
			for _, v := range page.Versions {
				here = append(here, fmt.Sprintf("%s %s %t", *v.Key, *v.VersionId, *v.IsLatest))
			}
			for _, v := range page.DeleteMarkers {
				here = append(here, fmt.Sprintf("%s %s %t deleted", *v.Key, *v.VersionId, *v.IsLatest))
			}
			slices.SortFunc(here, func(a, b string) int { return slices.Index(want, a) - slices.Index(want, b) })
			got = append(got, here...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %d: %q", size+1, got)
		}
	}
	s.end()
	s.start("My_Set@2") // alone
	c = s.client()
	for _, q := range [][3]string{{bucket, "", "a of version 2 2"}, {bucket, "1", "NoSuchVersion"}, {bucket + ".v3", "", "NoSuchBucket"}, {bucket + ".v2", "", "a of version 2 2"}} {
		if got := read(q[0], "a", q[1]); got != q[2] {
			t.Errorf("%q: %s", q, got)
		}
	}
	if told := s.failures(); len(told) > 0 {
		t.Error(told)
	}
}

// Conditions, ranges and sums are those of S3. Writing is denied.
func TestS3Objects(t *testing.T) {
	s := newStand(t)
	s.upload("scans", func(src string) {
		write(t, filepath.Join(src, "x"), []byte("0123456789"))
		write(t, filepath.Join(src, "empty"), nil)
		must(t, os.Chtimes(filepath.Join(src, "x"), time.Time{}, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)))
	})
	s.start()
	c := s.client()
	head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("scans"), Key: aws.String("x")})
	must(t, err)
	tag := *head.ETag
	if *head.ContentLength != 10 || !regexp.MustCompile(`^"[0-9a-f]{32}-1"$`).MatchString(tag) || !head.LastModified.Equal(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", head)
	}
	early, late := aws.Time(head.LastModified.Add(-time.Hour)), aws.Time(head.LastModified.Add(time.Hour))
	other := aws.String(`"other"`)
	for _, q := range []struct {
		in   s3.GetObjectInput
		want string
	}{
		{s3.GetObjectInput{}, "200 0123456789"},
		{s3.GetObjectInput{Range: aws.String("bytes=2-3")}, "206 23"},
		{s3.GetObjectInput{Range: aws.String("bytes=8-99")}, "206 89"},
		{s3.GetObjectInput{Range: aws.String("bytes=-3")}, "206 789"},
		{s3.GetObjectInput{Range: aws.String("bytes=-99")}, "206 0123456789"},
		{s3.GetObjectInput{Range: aws.String("bytes=9-")}, "206 9"},
		{s3.GetObjectInput{Range: aws.String("bytes=10-")}, "416 InvalidRange"},
		{s3.GetObjectInput{Range: aws.String("bytes=-0")}, "416 InvalidRange"},
		{s3.GetObjectInput{Range: aws.String("bytes=1-2,4-5")}, "200 0123456789"},
		{s3.GetObjectInput{Range: aws.String("bytes=3-2")}, "200 0123456789"},
		{s3.GetObjectInput{Range: aws.String("lines=1-2")}, "200 0123456789"},
		{s3.GetObjectInput{Range: aws.String("bytes=99999999999999999999-")}, "416 InvalidRange"},
		{s3.GetObjectInput{Range: aws.String("bytes=7-18446744073709551615")}, "206 789"},
		{s3.GetObjectInput{Range: aws.String("bytes=-18446744073709551616")}, "206 0123456789"},
		{s3.GetObjectInput{Range: aws.String("bytes=7-x")}, "200 0123456789"},
		{s3.GetObjectInput{Key: aws.String("empty")}, "200 "},
		{s3.GetObjectInput{Key: aws.String("empty"), Range: aws.String("bytes=0-0")}, "416 InvalidRange"},
		{s3.GetObjectInput{PartNumber: aws.Int32(1)}, "206 0123456789"},
		{s3.GetObjectInput{PartNumber: aws.Int32(2)}, "416 InvalidPartNumber"},
		{s3.GetObjectInput{IfMatch: &tag}, "200 0123456789"},
		{s3.GetObjectInput{IfMatch: other}, "412 PreconditionFailed"},
		{s3.GetObjectInput{IfNoneMatch: other}, "200 0123456789"},
		{s3.GetObjectInput{IfNoneMatch: &tag}, "304 "},
		{s3.GetObjectInput{IfModifiedSince: early}, "200 0123456789"},
		{s3.GetObjectInput{IfModifiedSince: late}, "304 "},
		{s3.GetObjectInput{IfUnmodifiedSince: early}, "412 PreconditionFailed"},
		{s3.GetObjectInput{IfUnmodifiedSince: late}, "200 0123456789"},
		{s3.GetObjectInput{IfMatch: &tag, IfUnmodifiedSince: early}, "200 0123456789"},
		{s3.GetObjectInput{IfNoneMatch: &tag, IfModifiedSince: early}, "304 "},
		{s3.GetObjectInput{IfNoneMatch: other, IfModifiedSince: late}, "200 0123456789"},
		{s3.GetObjectInput{ResponseContentType: aws.String("text/html")}, "501 NotImplemented"},
	} {
		in := q.in
		in.Bucket = aws.String("scans")
		if in.Key == nil {
			in.Key = aws.String("x")
		}
		o, err := c.GetObject(t.Context(), &in)
		var got string
		var api smithy.APIError
		var resp *smithyhttp.ResponseError
		switch {
		case err == nil:
			b, rerr := io.ReadAll(o.Body)
			must(t, rerr)
			o.Body.Close()
			status := 200
			if o.ContentRange != nil || in.PartNumber != nil {
				status = 206
			}
			got = fmt.Sprintf("%d %s", status, b)
		case errors.As(err, &resp) && resp.HTTPStatusCode() == http.StatusNotModified:
			got = "304 "
		case errors.As(err, &api) && errors.As(err, &resp):
			got = fmt.Sprintf("%d %s", resp.HTTPStatusCode(), api.ErrorCode())
		default:
			t.Fatal(err)
		}
		if got != q.want {
			t.Errorf("%+v: %s, want %s", q.in, got, q.want)
		}
	}
	_, err = c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("scans"), Key: aws.String("y"), Body: strings.NewReader(strings.Repeat("y", 1<<20))})
	_, derr := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("scans"), Key: aws.String("x")})
	for _, err := range []error{err, derr} {
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != "AccessDenied" {
			t.Error(err)
		}
	}
	location, err := c.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String("scans")})
	if err != nil || location.LocationConstraint != "" {
		t.Errorf("%+v %v", location, err)
	}
}

// The sums that a version has are told of whole objects, to who asks; of others there are none.
func TestS3Checksums(t *testing.T) {
	s := newStand(t)
	fill := func(src string) { write(t, filepath.Join(src, "x"), []byte("0123456789")) }
	s.upload("plain", fill)
	s.options.Checksum = true
	s.upload("summed", fill)
	s.start()
	sum := sha256.Sum256([]byte("0123456789"))
	of := base64.StdEncoding.EncodeToString(sum[:])
	for _, q := range []struct {
		bucket, span string
		mode         types.ChecksumMode
		want         string
	}{
		{"summed", "", types.ChecksumModeEnabled, of},
		{"summed", "", "", ""},
		{"summed", "bytes=0-3", types.ChecksumModeEnabled, ""},
		{"plain", "", types.ChecksumModeEnabled, ""},
	} {
		c := s3.New(s.client().Options(), func(o *s3.Options) { o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired })
		get := &s3.GetObjectInput{Bucket: &q.bucket, Key: aws.String("x"), ChecksumMode: q.mode}
		if q.span != "" {
			get.Range = &q.span
		}
		o, err := c.GetObject(t.Context(), get)
		must(t, err)
		_, err = io.ReadAll(o.Body) // the SDK compares what it is told
		must(t, err)
		o.Body.Close()
		h, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: get.Bucket, Key: get.Key, Range: get.Range, ChecksumMode: q.mode})
		must(t, err)
		if got := aws.ToString(o.ChecksumSHA256); got != q.want || aws.ToString(h.ChecksumSHA256) != q.want {
			t.Errorf("%s %s %s: GET tells %q and HEAD %q, want %q", q.bucket, q.span, q.mode, got, aws.ToString(h.ChecksumSHA256), q.want)
		}
		if whole := q.want != ""; whole != (o.ChecksumType == types.ChecksumTypeFullObject) {
			t.Errorf("%s %s %s: the type of the sum is %q", q.bucket, q.span, q.mode, o.ChecksumType)
		}
	}
}

// The name of a bucket is one, and no two datasets or versions have the same.
func TestBucketNames(t *testing.T) {
	form := regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	seen := map[string]string{}
	names := []string{"scans", "a", "ab", "A", "My_Set", "my-set", "my_set", "my.set", "scans.v3", "scans.v", "a..b", "10.0.0.1", "x-", "xn--a", "xn--", "b--x-s3", strings.Repeat("a", 50),
		strings.Repeat("a", 51), strings.Repeat("a", 100), strings.Repeat("_", 3) + "a", strings.Repeat("Z", 64), "a.-b", "sthree-x", "0", "a-s3alias"}
	for _, name := range names {
		for _, bucket := range []string{serve.BucketName(name), serve.VersionBucket(name, 1), serve.VersionBucket(name, 999_999_999)} {
			if !form.MatchString(bucket) || strings.Contains(bucket, "..") {
				t.Errorf("%q has bucket %q", name, bucket)
			}
			if other := seen[bucket]; other != "" {
				t.Errorf("%q and %q have bucket %q", name, other, bucket)
			}
			seen[bucket] = name
		}
	}
	if serve.BucketName("scans") != "scans" || serve.BucketName("my.set") != "my.set" || serve.VersionBucket("scans", 3) != "scans.v3" {
		t.Error("a name that a bucket can have is not its own")
	}
}
