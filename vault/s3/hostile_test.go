package s3store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/s3test"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// A server that answers what it was not asked for. What it says is not believed,
// and it cannot keep a reader busy for ever.
func TestS3HostileAnswers(t *testing.T) {
	server := s3test.MinIO(t, false)
	url := "s3://" + server.Bucket(t) + "/p"
	direct := openS3(t, url, settings(server))
	data := []byte("0123456789abcdef")
	for _, name := range []string{"d/a", "d/b"} {
		if err := direct.Put(t.Context(), name, write(data)); err != nil {
			t.Fatal(err)
		}
	}
	change := faultproxy.Change
	replace := func(old, new string) action {
		return change(func(r *faultproxy.Response) {
			if !bytes.Contains(r.Body, []byte(old)) {
				t.Errorf("the answer does not hold %q: %s", old, r.Body)
			}
			r.Body = bytes.ReplaceAll(r.Body, []byte(old), []byte(new))
			r.Header.Set("Content-Length", fmt.Sprint(len(r.Body)))
		})
	}
	list := func(s *s3store.Store) error {
		for _, err := range s.List(t.Context(), "d/") {
			if err != nil {
				return err
			}
		}
		return nil
	}
	ranged := func(s *s3store.Store) error {
		r, err := s.Get(t.Context(), "d/a", 4, 4)
		if err != nil {
			return err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err == nil && string(b) != "4567" {
			t.Errorf("read %q", b)
		}
		return err
	}
	var first []byte // page of a listing
	put := func(s *s3store.Store) error { return s.Put(t.Context(), "d/new", write(data)) }
	for name, c := range map[string]struct {
		fault *fault
		op    func(*s3store.Store) error
		want  string
	}{
		"listing without end": {&fault{Op: "ListObjectsV2", Times: -1, Do: change(func(r *faultproxy.Response) {
			if first == nil {
				first = bytes.Replace(r.Body, []byte("<IsTruncated>false</IsTruncated>"), []byte("<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"), 1)
			}
			r.Status, r.Body = 200, first
			r.Header.Set("Content-Length", fmt.Sprint(len(first)))
		})}, list, "out of order"},
		"listing that does not go on": {&fault{Op: "ListObjectsV2", Do: replace("<IsTruncated>false</IsTruncated>", "<IsTruncated>true</IsTruncated>")}, list, "does not continue"},
		"listing out of order":        {&fault{Op: "ListObjectsV2", Do: replace("d/a", "d/c")}, list, "out of order"},
		"listing of something else":   {&fault{Op: "ListObjectsV2", Do: replace("p/d/b", "q/d/b")}, list, "out of order"},
		"folders of something else": {&fault{Op: "ListObjectsV2", Do: replace("<Prefix>p/d/</Prefix>", "<Prefix>q/d/</Prefix>")}, func(s *s3store.Store) error {
			_, err := s.Folders(t.Context(), "")
			return err
		}, "out of order"},
		"range that is ignored": {&fault{Op: "GetObject", Do: change(func(r *faultproxy.Response) {
			r.Status, r.Body = 200, data
			r.Header.Del("Content-Range")
			r.Header.Set("Content-Length", fmt.Sprint(len(data)))
		})}, ranged, "was asked for the bytes from 4"},
		"another range": {&fault{Op: "GetObject", Do: change(func(r *faultproxy.Response) {
			r.Header.Set("Content-Range", "bytes 5-8/16")
		})}, ranged, "was asked for the bytes from 4"},
		"too long a range": {&fault{Op: "GetObject", Do: change(func(r *faultproxy.Response) {
			r.Body = data[4:]
			r.Header.Set("Content-Range", "bytes 4-15/16")
			r.Header.Set("Content-Length", "12")
		})}, ranged, "more than it was asked for"},
		"no encryption": {&fault{Op: "HeadObject", Do: change(func(r *faultproxy.Response) {
			r.Header.Del("X-Amz-Server-Side-Encryption")
			r.Header.Del("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
		})}, put, "no server-side encryption"},
		"encryption with another key": {&fault{Op: "HeadObject", Do: change(func(r *faultproxy.Response) {
			r.Header.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "arn:aws:kms:other")
		})}, put, `with the key "arn:aws:kms:other"`},
		"encryption with a key of S3": {&fault{Op: "HeadObject", Do: change(func(r *faultproxy.Response) {
			r.Header.Set("X-Amz-Server-Side-Encryption", "AES256")
		})}, put, "AES256"},
		"another size": {&fault{Op: "HeadObject", Do: change(func(r *faultproxy.Response) {
			r.Header.Set("Content-Length", "17")
		})}, put, "17 bytes instead of 16"},
	} {
		t.Run(name, func(t *testing.T) {
			set := settings(server)
			set.Endpoint = faultproxy.New(t, server.URL, server.Transport(), c.fault).URL
			if err := c.op(openS3(t, url, set)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want an error with %q", err, c.want)
			}
		})
	}
}

// An object without the encryption that cannot be deleted again is reported.
func TestSSEFailsClosedWithoutDelete(t *testing.T) {
	server := s3test.MinIO(t, false)
	set := settings(server)
	set.Endpoint = faultproxy.New(t, server.URL, server.Transport(),
		&fault{Op: "DeleteObject", Times: -1, Do: refuse(403, "AccessDenied")},
		&fault{Op: "HeadObject", Do: faultproxy.Change(func(r *faultproxy.Response) { r.Header.Del("X-Amz-Server-Side-Encryption") })}).URL
	err := openS3(t, "s3://"+server.Bucket(t), set).Put(t.Context(), "new", write([]byte("x")))
	var sse *s3store.SSEError
	if !errors.As(err, &sse) || sse.Removed || !strings.Contains(err.Error(), "s3:DeleteObject") || !strings.Contains(err.Error(), "delete it yourself") {
		t.Errorf("%v; want an SSEError of an object that stays", err)
	}
}

// In a bucket with versioning, what was stored without the encryption does not
// stay as an older version.
func TestSSEFailsClosedWithVersions(t *testing.T) {
	server := s3test.MinIO(t, false)
	bucket, client := server.Bucket(t), server.Client(t)
	_, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
	if err != nil {
		t.Fatal(err)
	}
	old := "the older version"
	direct := openS3(t, "s3://"+bucket, settings(server))
	if err := direct.Put(t.Context(), "o", write([]byte(old))); err != nil {
		t.Fatal(err)
	}
	set := settings(server)
	set.Endpoint = faultproxy.New(t, server.URL, server.Transport(), &fault{Op: "HeadObject",
		Do: faultproxy.Change(func(r *faultproxy.Response) { r.Header.Del("X-Amz-Server-Side-Encryption") })}).URL
	err = openS3(t, "s3://"+bucket, set).Put(t.Context(), "o", write([]byte("new")))
	var sse *s3store.SSEError
	if !errors.As(err, &sse) || !sse.Removed {
		t.Errorf("%v; want an SSEError", err)
	}
	out, err := client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket})
	if err != nil || len(out.Versions) != 1 || len(out.DeleteMarkers) != 0 {
		t.Fatalf("%v, %d versions and %d markers are left; want the older version alone", err, len(out.Versions), len(out.DeleteMarkers))
	}
	if b, err := io.ReadAll(mustGet(t, direct, "o")); err != nil || string(b) != old {
		t.Errorf("read %q, %v", b, err)
	}
}

// An object that is replaced while a body that broke off is resumed: no reader
// gets a mixture of two.
func TestS3ReplacedWhileRead(t *testing.T) {
	server := s3test.MinIO(t, false)
	url := "s3://" + server.Bucket(t)
	direct := openS3(t, url, settings(server))
	for _, n := range []int64{-1, 1 << 20} {
		if err := direct.Put(t.Context(), "o", write(bytes.Repeat([]byte("1"), 2<<20))); err != nil {
			t.Fatal(err)
		}
		set := settings(server)
		set.Endpoint = faultproxy.New(t, server.URL, server.Transport(), &fault{Op: "GetObject", Do: faultproxy.Truncate}).URL
		r, err := openS3(t, url, set).Get(t.Context(), "o", 0, n)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := direct.Put(t.Context(), "o", write(bytes.Repeat([]byte("2"), 2<<20))); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err == nil || !strings.Contains(err.Error(), "replaced while it was read") || bytes.Contains(b, []byte("2")) {
			t.Errorf("read %d bytes, %d of them of the other object, %v", len(b), bytes.Count(b, []byte("2")), err)
		}
	}
}

// Credentials, region, endpoint and trust come through the SDK's chain: first
// the environment, then a profile.
func TestS3Environment(t *testing.T) {
	server := s3test.MinIO(t, true)
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	url := "s3://" + server.Bucket(t)
	use := func(name string, set s3store.Settings) {
		t.Helper()
		set.KMSKey = server.KMSKey
		s := openS3(t, url, set)
		if err := s.Put(t.Context(), name, write([]byte(name))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CA_BUNDLE", file("ca.pem", string(server.CA)))
	t.Setenv("AWS_CONFIG_FILE", file("config", "[profile one]\nregion = "+server.Region+"\nendpoint_url = "+server.URL+"\n"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file("credentials", "[one]\naws_access_key_id = "+server.AccessKey+"\naws_secret_access_key = "+server.SecretKey+"\n"))
	use("setting", s3store.Settings{Profile: "one"})
	t.Setenv("AWS_PROFILE", "one")
	use("profile", s3store.Settings{})
	t.Setenv("AWS_PROFILE", "")
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": server.AccessKey, "AWS_SECRET_ACCESS_KEY": server.SecretKey,
		"AWS_REGION": server.Region, "AWS_ENDPOINT_URL_S3": server.URL} {
		t.Setenv(name, value)
	}
	use("environment", s3store.Settings{})
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	s := openS3(t, url, s3store.Settings{KMSKey: server.KMSKey})
	if _, err := s.Stat(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "no usable AWS credentials were found") {
		t.Errorf("without credentials: %v", err)
	}
}
