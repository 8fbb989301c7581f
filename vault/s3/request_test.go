package s3store_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

const arnKey = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// A fakeAWS answers requests as AWS does, without a network. It keeps none but
// the requests.
type fakeAWS struct {
	mu       sync.Mutex
	requests []*http.Request
	answer   func(*http.Request) (status int, header map[string]string, body string)
}

func (f *fakeAWS) Do(r *http.Request) (*http.Response, error) {
	n := int64(0)
	if r.Body != nil {
		n, _ = io.Copy(io.Discard, r.Body)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r.ContentLength = n
	f.requests = append(f.requests, r)
	status, header, body := f.answer(r)
	resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}
	for k, v := range header {
		resp.Header.Set(k, v)
	}
	return resp, nil
}

func (f *fakeAWS) open(t *testing.T, url string, set s3store.Settings) *s3store.Store {
	t.Helper()
	t.Setenv("AWS_CA_BUNDLE", "") // the SDK wants to set it on a client of its own
	set.LoadOptions = []func(*config.LoadOptions) error{
		config.WithHTTPClient(f), config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("a", "b", "")),
	}
	set.MaxBackoff, set.Attempts = time.Millisecond, 2
	return openS3(t, url, set)
}

// Every request carries what the settings say, to the right host.
func TestS3Requests(t *testing.T) {
	const point = "arn:aws:s3:us-west-2:111122223333:accesspoint/my-point"
	for url, host := range map[string]string{
		"s3://my-bucket/p":         "my-bucket.s3.eu-central-1.amazonaws.com",
		"s3://" + point + "/p":     "my-point-111122223333.s3-accesspoint.us-west-2.amazonaws.com",
		"s3://with.dots.in.it/p/q": "s3.eu-central-1.amazonaws.com", // whose certificate fits no other
	} {
		size := int64(0)
		f := &fakeAWS{}
		f.answer = func(r *http.Request) (int, map[string]string, string) {
			q := r.URL.Query()
			switch {
			case r.Method == http.MethodHead:
				return 200, map[string]string{"Content-Length": fmt.Sprint(size),
					"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": arnKey}, ""
			case r.Method == http.MethodGet && q.Has("list-type"):
				return 200, nil, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
			case r.Method == http.MethodGet && q.Has("uploads"):
				return 200, nil, "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>" + q.Get("prefix") + "d/x</Key><UploadId>u</UploadId><Initiated>2020-01-01T00:00:00Z</Initiated></Upload></ListMultipartUploadsResult>"
			case r.Method == http.MethodGet:
				return 200, map[string]string{"Content-Length": "0"}, ""
			case q.Has("uploads"):
				size = 0
				return 200, nil, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
			case r.Method == http.MethodPost:
				return 200, nil, "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>"
			case r.Method == http.MethodDelete:
				return 204, nil, ""
			}
			if q.Has("partNumber") {
				size += r.ContentLength
			} else {
				size = r.ContentLength
			}
			return 200, map[string]string{"ETag": `"e"`}, ""
		}
		s := f.open(t, url, s3store.Settings{Region: "eu-central-1", KMSKey: arnKey, RequesterPays: true, BucketOwner: "111122223333",
			StorageClass: "STANDARD_IA", Tags: map[string]string{"a": "b c"}})
		var errs []error
		errs = append(errs, s.Put(t.Context(), "d/small", write([]byte("x"))), s.Put(t.Context(), "d/large", write(make([]byte, 9<<20))),
			s.Create(t.Context(), "d/new", []byte("x")), s.Delete(t.Context(), "d/new"), s.Sweep(t.Context(), ""))
		_, err := s.Stat(t.Context(), "d/small")
		errs = append(errs, err)
		_, err = s.Folders(t.Context(), "")
		errs = append(errs, err)
		r, err := s.Get(t.Context(), "d/small", 0, -1)
		if errs = append(errs, err); err == nil {
			r.Close()
		}
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for _, r := range f.requests {
			q := r.URL.Query()
			kind := r.Method
			switch {
			case q.Has("partNumber"):
				kind = "part"
			case q.Has("uploads") || q.Has("uploadId"):
				kind += " upload"
			}
			seen[kind]++
			check := func(header, want string) {
				t.Helper()
				if got := r.Header.Get(header); got != want {
					t.Errorf("%s %s has %s: %q, want %q", r.Method, r.URL, header, got, want)
				}
			}
			if r.URL.Scheme != "https" || r.URL.Host != host {
				t.Errorf("%s goes to %s://%s, want https://%s", kind, r.URL.Scheme, r.URL.Host, host)
			}
			check("X-Amz-Request-Payer", "requester")
			check("X-Amz-Expected-Bucket-Owner", "111122223333")
			if kind == "PUT" || kind == "POST upload" && q.Has("uploads") {
				check("X-Amz-Server-Side-Encryption", "aws:kms")
				check("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", arnKey)
				check("X-Amz-Server-Side-Encryption-Bucket-Key-Enabled", "true")
				check("X-Amz-Tagging", "a=b+c")
			}
			if q.Has("uploads") && r.Method == http.MethodPost {
				check("X-Amz-Checksum-Algorithm", "CRC64NVME")
				check("X-Amz-Checksum-Type", "FULL_OBJECT")
				check("X-Amz-Storage-Class", "STANDARD_IA")
			}
			if kind == "PUT" || kind == "part" || kind == "POST upload" && q.Has("uploadId") {
				if len(r.Header.Get("X-Amz-Checksum-Crc64nvme")) != 12 {
					t.Errorf("%s %s has no checksum: %v", r.Method, r.URL, r.Header)
				}
			}
			if kind == "PUT" {
				check("X-Amz-Storage-Class", "") // they are small
			}
			if r.Header.Get("If-None-Match") == "*" != strings.HasSuffix(r.URL.Path, "/d/new") && kind == "PUT" {
				t.Errorf("%s has If-None-Match: %q", r.URL, r.Header.Get("If-None-Match"))
			}
		}
		if want := "map[DELETE:1 DELETE upload:1 GET:2 GET upload:1 HEAD:4 POST upload:2 PUT:2 part:2]"; fmt.Sprint(seen) != want {
			t.Errorf("the requests were %v, want %s", seen, want)
		}
		if u := s.Usage(); u.Puts != 6 || u.Gets != 5 || u.Lists != 2 || u.Deletes != 2 || u.BytesSent < 9<<20+2 {
			t.Errorf("the usage is %+v", u)
		}
	}
}

// What AWS says becomes what to do.
func TestS3ErrorsOfAWS(t *testing.T) {
	const denied = `User: arn:aws:sts::111122223333:assumed-role/r/s is not authorized to perform: kms:GenerateDataKey on resource: ` +
		arnKey + ` because no identity-based policy allows the kms:GenerateDataKey action`
	put := func(s *s3store.Store) error { return s.Put(t.Context(), "x", write([]byte("x"))) }
	large := func(s *s3store.Store) error { return s.Put(t.Context(), "x", write(make([]byte, 9<<20))) }
	get := func(s *s3store.Store) error { _, err := s.Get(t.Context(), "x", 0, -1); return err }
	list := func(s *s3store.Store) error { _, err := s.Folders(t.Context(), ""); return err }
	for _, c := range []struct {
		status        int
		code, message string
		header        map[string]string
		op            func(*s3store.Store) error
		want          []string
		is            error
	}{
		{403, "AccessDenied", denied, nil, put, []string{"the permission kms:GenerateDataKey on " + arnKey + " is missing"}, fs.ErrPermission},
		{403, "AccessDenied", "Access Denied", nil, put, []string{"s3:PutObject on arn:aws:s3:::bucket/p/x", "s3:PutObjectTagging", "kms:GenerateDataKey on " + arnKey}, fs.ErrPermission},
		{403, "AccessDenied", "Access Denied", nil, large, []string{"s3:PutObject on arn:aws:s3:::bucket/p/x", "kms:GenerateDataKey, kms:Decrypt on " + arnKey}, fs.ErrPermission},
		{403, "AccessDenied", "Access Denied", nil, get, []string{"s3:GetObject on arn:aws:s3:::bucket/p/x", "kms:Decrypt on " + arnKey, "s3:ListBucket"}, fs.ErrPermission},
		{403, "AccessDenied", "Access Denied", nil, list, []string{"s3:ListBucket on arn:aws:s3:::bucket"}, fs.ErrPermission},
		{301, "PermanentRedirect", "", map[string]string{"X-Amz-Bucket-Region": "us-west-2"}, list, []string{"the bucket is in the region us-west-2", "set region: us-west-2"}, nil},
		{400, "AuthorizationHeaderMalformed", "", map[string]string{"X-Amz-Bucket-Region": "us-west-2"}, put, []string{"set region: us-west-2"}, nil},
		{404, "NoSuchBucket", "", nil, put, []string{"there is no bucket bucket"}, nil},
		{404, "NoSuchKey", "", nil, get, []string{"there is no such object"}, fs.ErrNotExist},
		{403, "RequestTimeTooSkewed", "", nil, put, []string{"clock of this machine"}, nil},
		{400, "ExpiredToken", "", nil, get, []string{"credentials have expired", "aws sso login"}, fs.ErrPermission},
		{403, "InvalidAccessKeyId", "", nil, put, []string{"does not know these AWS credentials"}, fs.ErrPermission},
		{400, "KMS.DisabledException", "", nil, put, []string{arnKey + " is disabled"}, nil},
		{400, "KMS.KMSInvalidStateException", "", nil, get, []string{"aws kms cancel-key-deletion"}, nil},
		{400, "KMS.NotFoundException", "", nil, put, []string{"there is no KMS key " + arnKey}, nil},
		{403, "InvalidObjectState", "", nil, get, []string{"archive class"}, nil},
		{503, "SlowDown", "", nil, put, []string{"overloaded, even after 2 attempts"}, nil},
	} {
		f := &fakeAWS{answer: func(*http.Request) (int, map[string]string, string) {
			return c.status, c.header, "<Error><Code>" + c.code + "</Code><Message>" + c.message + "</Message></Error>"
		}}
		s := f.open(t, "s3://bucket/p", s3store.Settings{Region: "eu-central-1", KMSKey: arnKey, Tags: map[string]string{"a": "b"}})
		err := c.op(s)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%d %s: %v; want %q", c.status, c.code, err, want)
			}
		}
		for _, class := range []error{fs.ErrPermission, fs.ErrNotExist, fs.ErrExist} {
			if errors.Is(err, class) != (c.is == class) {
				t.Errorf("%d %s: %v; it should wrap %v", c.status, c.code, err, c.is)
			}
		}
	}
}

// A page of a proxy with status 200 is no empty listing.
func TestAnswersThatAreNoListing(t *testing.T) {
	for _, page := range []string{"<html><head><title>Log in</title></head><body><p>Welcome</p></body></html>", "<Ok></Ok>", ""} {
		f := &fakeAWS{answer: func(*http.Request) (int, map[string]string, string) {
			return 200, map[string]string{"Content-Type": "text/html"}, page
		}}
		s := f.open(t, "s3://my-bucket/p", s3store.Settings{Region: "eu-central-1", KMSKey: arnKey})
		for _, err := range s.List(t.Context(), "") {
			if err == nil {
				t.Errorf("%q is an object", page)
			}
			page += "told"
		}
		if !strings.HasSuffix(page, "told") {
			t.Errorf("%q is an empty vault", page)
		}
		if names, err := s.Folders(t.Context(), ""); err == nil {
			t.Errorf("%q is a vault with the datasets %q", page, names)
		}
		if n, err := s.CountStale(t.Context(), "", 0); err == nil {
			t.Errorf("%q is a vault with %d unfinished uploads", page, n)
		}
		if n, err := s.CountOld(t.Context(), "d/keys/"); err == nil {
			t.Errorf("%q is a vault with %d old versions", page, n)
		}
	}
}
