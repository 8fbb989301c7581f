package s3test_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/s3test"
)

// The servers do what the tests that use them rely on: MinIO encrypts with its
// KMS, versitygw does not, whatever it is asked.
func TestServers(t *testing.T) {
	for name, start := range map[string]func(testing.TB, bool) *s3test.Server{"minio": s3test.MinIO, "versitygw": s3test.Versity} {
		for _, https := range []bool{false, true} {
			t.Run(name+" https="+strconv.FormatBool(https), func(t *testing.T) {
				ctx := context.Background()
				s := start(t, https)
				if strings.HasPrefix(s.URL, "https:") != https {
					t.Errorf("the endpoint is %s", s.URL)
				}
				c, bucket, key := s.Client(t), s.Bucket(t), "k"
				in := &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader([]byte("x")),
					ServerSideEncryption: types.ServerSideEncryptionAwsKms}
				if s.KMSKey != "" {
					in.SSEKMSKeyId = &s.KMSKey
				}
				if _, err := c.PutObject(ctx, in); err != nil {
					t.Fatal(err)
				}
				out, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(out.Body); err != nil || string(b) != "x" {
					t.Errorf("got %q, %v", b, err)
				}
				if got := out.ServerSideEncryption == types.ServerSideEncryptionAwsKms; got != (s.KMSKey != "") {
					t.Errorf("the object has SSE %q, the server's key is %q", out.ServerSideEncryption, s.KMSKey)
				}
			})
		}
	}
}

// A test process that is killed leaves no server behind.
func TestServerDiesWithItsParent(t *testing.T) {
	if os.Getenv("S3TEST_CHILD") != "" {
		s := s3test.MinIO(t, false)
		os.Stdout.WriteString("endpoint " + s.URL + "\n")
		time.Sleep(time.Minute)
		return
	}
	s3test.NeedMinIO(t)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestServerDiesWithItsParent$")
	cmd.Env = append(os.Environ(), "S3TEST_CHILD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var line []byte
	for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); line = append(line, b...) {
		if _, err := out.Read(b); err != nil {
			t.Fatalf("the child said %q, then: %v", line, err)
		}
	}
	_, url, ok := strings.Cut(strings.TrimSpace(string(line)), "endpoint ")
	if !ok {
		t.Fatalf("the child said %q", line)
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	if err := s3test.Gone(url, 10*time.Second); err != nil {
		t.Error(err)
	}
}
