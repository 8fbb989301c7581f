package s3test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// A Server is a running server.
type Server struct {
	// URL is its endpoint; https if requested.
	URL string
	// CA is the certificate, in PEM, that signed the server's; nil over http.
	CA []byte
	// Region is the Region of its buckets.
	Region string
	// AccessKey and SecretKey are its administrator's credentials.
	AccessKey, SecretKey string
	// KMSKey is the key for SSE-KMS; empty if the server does not support it.
	KMSKey string

	log *lockedBuffer
}

const (
	accessKey = "vaultpack-test"
	secretKey = "vaultpack-test-secret"
	region    = "us-east-1"
	kmsKey    = "my-key"
)

// MinIO starts a MinIO with a built-in KMS. It stops when the test ends.
func MinIO(t testing.TB, https bool) *Server {
	t.Helper()
	dir := t.TempDir()
	certs := ""
	return start(t, minio, https, func(s *Server, addr string) ([]string, []string) {
		certs = filepath.Join(dir, "certs")
		if https {
			s.writeCert(t, certs, "public.crt", "private.key")
		}
		s.KMSKey = kmsKey
		return []string{"server", "--quiet", "--address", addr, "--certs-dir", certs, filepath.Join(dir, "data")},
			[]string{
				"MINIO_ROOT_USER=" + accessKey, "MINIO_ROOT_PASSWORD=" + secretKey,
				"MINIO_KMS_SECRET_KEY=" + kmsKey + ":" + "OSMM+vkKUTCvQs9YL/CVMIMt43HFhkUpqJxTmGl6rYw=",
				"MINIO_SITE_REGION=" + region, "MINIO_BROWSER=off", "MINIO_UPDATE=off", "CI=true", "HOME=" + dir,
			}
	})
}

// Versity starts a versitygw over a directory. It stops when the test ends.
func Versity(t testing.TB, https bool) *Server {
	t.Helper()
	dir := t.TempDir()
	return start(t, versitygw, https, func(s *Server, addr string) ([]string, []string) {
		data := filepath.Join(dir, "data")
		if err := os.Mkdir(data, 0o755); err != nil {
			t.Fatal(err)
		}
		args := []string{"--port", addr, "--access", accessKey, "--secret", secretKey, "--region", region, "--quiet"}
		if https {
			s.writeCert(t, dir, "cert.pem", "key.pem")
			args = append(args, "--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"))
		}
		return append(args, "posix", data), []string{"HOME=" + dir}
	})
}

// NeedMinIO skips the test, or fails it in CI, as MinIO does, but starts nothing. It
// is for tests whose server runs in another process.
func NeedMinIO(t testing.TB) {
	t.Helper()
	need(t, minio)
}

// need returns the path of the program, built if necessary and allowed.
func need(t testing.TB, p program) (bin string) {
	t.Helper()
	if testing.Short() {
		t.Skipf("needs %s; not with -short", p.name)
	}
	if !p.wanted() {
		t.Skipf("needs %s, which takes minutes to build: VAULTPACK_TEST_SERVERS=1 has it built once", p.name)
	}
	bin, err := p.path()
	if err != nil {
		t.Fatalf("%s cannot be had: %v", p.name, err)
	}
	return bin
}

// start runs the program and waits until it answers. A port that was free may be
// taken a moment later, so it tries a few times.
func start(t testing.TB, p program, https bool, prepare func(s *Server, addr string) (args, env []string)) *Server {
	t.Helper()
	bin := need(t, p)
	for try := 1; ; try++ {
		addr := freeAddr(t)
		s := &Server{URL: "http://" + addr, Region: region, AccessKey: accessKey, SecretKey: secretKey, log: &lockedBuffer{}}
		if https {
			s.URL = "https://" + addr
		}
		args, env := prepare(s, addr)
		exited := s.run(t, bin, args, env)
		err := s.ready(exited)
		if err == nil {
			return s
		}
		if try == 3 {
			t.Fatalf("%s: %v\n%s", p.name, err, s.log)
		}
	}
}

// run starts the process. It is killed when the test ends or, on Linux, when the
// test's process ends.
func (s *Server) run(t testing.TB, bin string, args, env []string) (exited <-chan error) {
	cmd := exec.Command(bin, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, env...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	dieWithParent(cmd)
	started, done := make(chan error, 1), make(chan error, 1)
	go func() {
		// The kernel treats the end of the thread that started the process as the
		// end of its parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
			close(done)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
	})
	return done
}

// ready waits until the server answers a signed request.
func (s *Server) ready(exited <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	for {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err = client.ListBuckets(try, &s3.ListBucketsInput{})
		cancel()
		if err == nil {
			return nil
		}
		select {
		case err := <-exited:
			return fmt.Errorf("it ended before it was ready: %v", err)
		case <-ctx.Done():
			return fmt.Errorf("it was not ready after 60 s: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Options returns options that make the SDK use the server. They do not include the endpoint.
func (s *Server) Options() []func(*config.LoadOptions) error {
	opts := []func(*config.LoadOptions) error{
		config.WithRegion(s.Region),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, "")),
		config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
	}
	if s.CA != nil {
		opts = append(opts, config.WithCustomCABundle(bytes.NewReader(s.CA)))
	}
	return opts
}

// Client returns an SDK client, to look at the bucket independently of the code under test.
func (s *Server) Client(t testing.TB) *s3.Client {
	t.Helper()
	c, err := s.client(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *Server) client(ctx context.Context) (*s3.Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx, s.Options()...)
	if err != nil {
		return nil, err
	}
	return s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.BaseEndpoint, o.UsePathStyle = &s.URL, true
	}), nil
}

// Transport returns an HTTP transport that trusts the server.
func (s *Server) Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if s.CA != nil {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(s.CA)
		t.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return t
}

// Bucket creates a bucket with a unique name.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	name := "b-" + strings.ToLower(randomText(16))
	if _, err := s.Client(t).CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatalf("making a bucket: %v\n%s", err, s.log)
	}
	return name
}

// EncryptedBucket creates a bucket whose objects are encrypted with the server's
// KMS key by default.
func (s *Server) EncryptedBucket(t testing.TB) string {
	t.Helper()
	name := s.Bucket(t)
	_, err := s.Client(t).PutBucketEncryption(context.Background(), &s3.PutBucketEncryptionInput{
		Bucket: &name,
		ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
			Rules: []types.ServerSideEncryptionRule{{
				ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{
					SSEAlgorithm: types.ServerSideEncryptionAwsKms, KMSMasterKeyID: &s.KMSKey,
				},
			}},
		},
	})
	if err != nil {
		t.Fatalf("setting the bucket's default encryption: %v", err)
	}
	return name
}

func splitAddr(t testing.TB, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A lockedBuffer holds the server's output.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.b.Len() < 1<<20 {
		b.b.Write(p)
	}
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
