package s3store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/internal/awstest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// newAWS is an AWS at the endpoint of the environment, with a bucket and a key.
func newAWS(t *testing.T, in kms.CreateKeyInput) (s *awstest.Server, arn string) {
	t.Helper()
	s = awstest.New("eu-central-1")
	s.AddBucket("data", awstest.Bucket{})
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	for k, v := range map[string]string{"AWS_ENDPOINT_URL": h.URL, "AWS_REGION": s.Region, "AWS_ACCESS_KEY_ID": "admin", "AWS_SECRET_ACCESS_KEY": "x",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PROFILE": "", "AWS_SESSION_TOKEN": "", "AWS_CA_BUNDLE": ""} {
		t.Setenv(k, v)
	}
	out, err := kms.NewFromConfig(s.Config()).CreateKey(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	return s, *out.KeyMetadata.Arn
}

func inAWS(key string) s3store.Settings {
	return s3store.Settings{KMSKey: key, Attempts: 2, MaxBackoff: time.Millisecond}
}

// put stores an object of the size and reads it back.
func put(t *testing.T, v vault.Store, name string, size int) error {
	t.Helper()
	data := bytes.Repeat([]byte("x"), size)
	if err := v.Put(t.Context(), name, func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
		return err
	}
	r, err := v.Get(t.Context(), name, 0, -1)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
		return fmt.Errorf("read %d bytes of %d: %v", len(got), size, err)
	}
	return nil
}

// Each kind of checksum goes with objects in one piece and in parts. A server that
// refuses one is told from a broken one, after one request.
func TestChecksums(t *testing.T) {
	race.Skip(t, "it sends one object after the other")
	s, arn := newAWS(t, kms.CreateKeyInput{})
	open := func(checksum string) vault.Store {
		set := inAWS(arn)
		set.Checksum, set.PartSize = checksum, 5<<20
		return openS3(t, "s3://data/ml", set)
	}
	for _, checksum := range []string{"", "crc64nvme", "crc32", "sha256", "none"} {
		v := open(checksum)
		for _, size := range []int{0, 7, 12<<20 + 1} {
			if err := put(t, v, "x", size); err != nil {
				t.Errorf("%s, %d bytes: %v", checksum, size, err)
			}
		}
		if err := v.Create(t.Context(), "created-"+checksum, []byte("x")); err != nil {
			t.Errorf("%s: %v", checksum, err)
		}
	}
	s.Refuses = []string{"crc64nvme"}
	before := len(s.Calls())
	err := put(t, open(""), "x", 3)
	if err == nil || !strings.Contains(err.Error(), "checksum") || !strings.Contains(err.Error(), "crc32 or sha256 or none") {
		t.Errorf("a server that refuses CRC64NVME: %v", err)
	}
	if n := len(s.Calls()) - before; n != 1 {
		t.Errorf("it took %d requests to find out", n)
	}
	for _, checksum := range []string{"crc32", "sha256", "none"} {
		if err := put(t, open(checksum), "x", 6<<20); err != nil {
			t.Errorf("%s: %v", checksum, err)
		}
	}
	set := inAWS(arn)
	set.Checksum = "md5"
	if _, err := s3store.Open(t.Context(), "s3://data/ml", set); err == nil || !strings.Contains(err.Error(), "crc64nvme, crc32, sha256 or none") {
		t.Errorf("a checksum that is none: %v", err)
	}
}

// What a server does not implement is told after one request, with what to do, and so
// is the Region of a bucket by the answers to HEAD, which say nothing else.
func TestS3Advice(t *testing.T) {
	s, arn := newAWS(t, kms.CreateKeyInput{})
	v := openS3(t, "s3://data/ml", inAWS(arn))
	s.Meet = func(c awstest.Call) awstest.Fate {
		if c.Op == "PutObject" {
			return awstest.Fate{Status: 501, Code: "NotImplemented", Message: "A header you provided implies functionality that is not implemented"}
		}
		return awstest.Fate{}
	}
	before := len(s.Calls())
	err := put(t, v, "x", 3)
	for _, want := range []string{"s3.checksum", "sse: none", "conditional writes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if n := len(s.Calls()) - before; n != 1 || strings.Contains(err.Error(), "attempts") {
		t.Errorf("after %d requests: %v", n, err)
	}
	for _, status := range []int{301, 400} {
		s.Meet = func(c awstest.Call) awstest.Fate {
			if c.Op == "HeadObject" {
				return awstest.Fate{Status: status, Code: "x", Header: map[string]string{"X-Amz-Bucket-Region": "me-south-1"}}
			}
			return awstest.Fate{}
		}
		if err := put(t, v, "x", 3); err == nil || !strings.Contains(err.Error(), "set region: me-south-1") {
			t.Errorf("HEAD is answered with %d: %v", status, err)
		}
	}
}
