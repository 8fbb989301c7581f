package awsload

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// What must not stand in a line: parts of credentials and signatures, and bodies.
var secrets = []string{
	"AKIDOFTHETEST", "secretkeyofthetest", "sessiontokenofthetest", "userofthetest", "passwordofthetest",
	"customerkeyofthetest", "Authorization", "Signature", "signatureofthetest", "Credential", "Security-Token", "X-Amz",
	"bodyofthetest", "answerofthetest", "prefixofthetest", "wrappedofthetest",
}

// lines reads the lines of a log, and looks for secrets in it.
func lines(t *testing.T, log string) []string {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(strings.ToLower(log), strings.ToLower(secret)) {
			t.Errorf("the log has %q: %s", secret, log)
		}
	}
	return strings.Split(strings.TrimSuffix(log, "\n"), "\n")
}

// Every attempt of every request is a line, and no secret is in any.
func TestDebugLines(t *testing.T) {
	var answers atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Amz-Request-Id", "ID-1")
		if r.Method == http.MethodPost {
			w.Header().Del("X-Amz-Request-Id")
			w.Header().Set("X-Amzn-Requestid", "ID-2")
		}
		switch answers.Add(1) {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			io.WriteString(w, `{"Plaintext":"YW5zd2Vyb2Z0aGV0ZXN0","KeyId":"answerofthetest"}`)
		}
	}))
	defer server.Close()

	var log bytes.Buffer
	cfg := aws.Config{
		Region: "eu-central-1", BaseEndpoint: aws.String(server.URL), HTTPClient: server.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("AKIDOFTHETEST", "secretkeyofthetest", "sessiontokenofthetest"),
		APIOptions:  []func(*middleware.Stack) error{logRequests(&log)},
	}
	store := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	_, err := store.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a\nb/c"),
		Body: strings.NewReader("bodyofthetest"), SSECustomerKey: aws.String("Y3VzdG9tZXJrZXlvZnRoZXRlc3Q="), SSECustomerAlgorithm: aws.String("AES256")})
	if err != nil {
		t.Fatal(err)
	}
	store.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("bucket"), Prefix: aws.String("prefixofthetest")})
	kms.NewFromConfig(cfg).Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: []byte("wrappedofthetest")})

	host := strings.TrimPrefix(server.URL, "http://")
	got := lines(t, log.String())
	want := [][]string{
		{"service=S3", "operation=PutObject", "method=PUT", "host=" + host, "path=/bucket/a%0Ab/c", "status=503", "request_id=ID-1", "duration=", "attempt=1"},
		{"operation=PutObject", "status=200", "attempt=2"},
		{"operation=ListObjectsV2", "method=GET", "path=/bucket ", "status=200", "attempt=1"},
		{"service=KMS", "operation=Decrypt", "method=POST", "path=/ ", "status=200", "request_id=ID-2"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines: %q", len(got), got)
	}
	for i, fields := range want {
		for _, field := range fields {
			if !strings.Contains(got[i]+" ", field) {
				t.Errorf("line %d has no %q: %s", i, field, got[i])
			}
		}
	}
}

// What stands in a URL, in headers or in an error is left out too.
func TestDebugLinesOfFailures(t *testing.T) {
	var log bytes.Buffer
	stack := middleware.NewStack("test", smithyhttp.NewStackRequest)
	if err := logRequests(&log)(stack); err != nil {
		t.Fatal(err)
	}
	secretURL := "http://userofthetest:passwordofthetest@example.org/bucket/name?X-Amz-Signature=signatureofthetest&X-Amz-Credential=AKIDOFTHETEST"
	for _, failure := range []error{
		&smithyhttp.RequestSendError{Err: &url.Error{Op: "Put", URL: secretURL, Err: errors.New("connection refused")}},
		errors.New("sending " + secretURL),
	} {
		request := smithyhttp.NewStackRequest().(*smithyhttp.Request)
		request.URL, _ = url.Parse(secretURL)
		request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDOFTHETEST")
		_, _, err := stack.Deserialize.HandleMiddleware(t.Context(), request, middleware.HandlerFunc(func(context.Context, any) (any, middleware.Metadata, error) {
			return nil, middleware.Metadata{}, failure
		}))
		if !errors.Is(err, failure) {
			t.Errorf("the error is %v", err)
		}
	}
	got := lines(t, log.String())
	if len(got) != 2 || !strings.Contains(got[0], `host=example.org path=/bucket/name error="connection refused"`) || !strings.Contains(got[1], "error=*errors.errorString") {
		t.Errorf("lines: %q", got)
	}
}

// The variable turns the lines on for every client of a configuration, and a value that
// is neither yes nor no is refused.
func TestDebugVariable(t *testing.T) {
	for _, name := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, file)
	}
	for value, want := range map[string]int{"": 0, "0": 0, "1": 1, "true": 1, "loud": -1} {
		t.Setenv(DebugVariable, value)
		cfg, err := Settings{Region: "eu-central-1"}.Load(t.Context(), config.WithCredentialsProvider(aws.AnonymousCredentials{}))
		if got := len(cfg.APIOptions); want >= 0 && (err != nil || got != want) {
			t.Errorf("%q: %d options, %v", value, got, err)
		}
		if want < 0 && (err == nil || !strings.Contains(err.Error(), DebugVariable)) {
			t.Errorf("%q: %v", value, err)
		}
	}
}
