package serve_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/serve"
)

const noBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// do sends a request and returns its status, its S3 error code and its body.
func do(t testing.TB, r *http.Request) (status int, code, body string) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	_, code, _ = strings.Cut(string(b), "<Code>")
	code, _, _ = strings.Cut(code, "</Code>")
	return resp.StatusCode, code, string(b)
}

// Only requests that were signed with the credentials, for this server and about now, are
// answered, and those under a name of the server only.
func TestS3Signatures(t *testing.T) {
	s := newStand(t)
	s.upload("scans", func(src string) { write(t, filepath.Join(src, "a b/ä+.txt"), []byte("contents")) })
	s.start()
	key := aws.Credentials{AccessKeyID: s.credentials.AccessKeyID, SecretAccessKey: s.credentials.SecretAccessKey}
	// A new one each time: a signer remembers the derived key by the access key only.
	signer := func() *v4.Signer { return v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) }
	request := func() *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.s3.URL+"/scans/a%20b/%C3%A4%2B.txt", nil)
		must(t, err)
		r.Header.Set("X-Amz-Content-Sha256", noBody)
		return r
	}
	signed := func(k aws.Credentials, at time.Time, change func(*http.Request)) *http.Request {
		r := request()
		if change != nil {
			change(r)
		}
		must(t, signer().SignHTTP(t.Context(), k, r, noBody, "s3", "eu-west-7", at))
		return r
	}
	presigned := func(at time.Time, seconds string) *http.Request {
		r := request()
		r.Header.Del("X-Amz-Content-Sha256")
		r.URL.RawQuery = "X-Amz-Expires=" + seconds
		u, _, err := signer().PresignHTTP(t.Context(), key, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", at)
		must(t, err)
		r, err = http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
		must(t, err)
		return r
	}
	after := func(r *http.Request, change func(*http.Request)) *http.Request { change(r); return r }
	other := aws.Credentials{AccessKeyID: key.AccessKeyID, SecretAccessKey: key.SecretAccessKey + "x"}
	foreign := aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: key.SecretAccessKey}
	now := time.Now()
	for _, c := range []struct {
		name string
		r    *http.Request
		want string // the code; "" is the contents
	}{
		{"as it must be", signed(key, now, nil), ""},
		{"the clock is 14 minutes behind", signed(key, now.Add(-14*time.Minute), nil), ""},
		{"with a query", signed(key, now, func(r *http.Request) { r.URL.RawQuery = "x-id=GetObject&versionId=1" }), ""},
		{"the body is not signed", signed(key, now, func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", noBody) }), ""},
		{"an unsigned Range", after(signed(key, now, nil), func(r *http.Request) { r.Header.Set("Range", "bytes=0-") }), ""},
		{"presigned", presigned(now, "60"), ""},
		{"not signed", request(), "AccessDenied"},
		{"another secret", signed(other, now, nil), "SignatureDoesNotMatch"},
		{"another key", signed(foreign, now, nil), "InvalidAccessKeyId"},
		{"the clock is 16 minutes behind", signed(key, now.Add(-16*time.Minute), nil), "RequestTimeTooSkewed"},
		{"the clock is 16 minutes ahead", signed(key, now.Add(16*time.Minute), nil), "RequestTimeTooSkewed"},
		{"another path", after(signed(key, now, nil), func(r *http.Request) { r.URL.Path, r.URL.RawPath = "/scans/b", "" }), "SignatureDoesNotMatch"},
		{"another method", after(signed(key, now, nil), func(r *http.Request) { r.Method = http.MethodDelete }), "SignatureDoesNotMatch"},
		{"another query", after(signed(key, now, nil), func(r *http.Request) { r.URL.RawQuery = "versionId=1" }), "SignatureDoesNotMatch"},
		{"a header of Amazon's that is not signed", after(signed(key, now, nil), func(r *http.Request) { r.Header.Set("X-Amz-Checksum-Mode", "ENABLED") }), "SignatureDoesNotMatch"},
		{"a signed header is changed", after(signed(key, now, nil), func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }), "SignatureDoesNotMatch"},
		{"without the sum of the body, as curl before 8.0", after(signed(key, now, nil), func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") }), "InvalidRequest"},
		{"version 2", after(request(), func(r *http.Request) { r.Header.Set("Authorization", "AWS "+key.AccessKeyID+":abc") }), "InvalidRequest"},
		{"for another service", after(signed(key, now, nil), func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/s3/", "/sts/", 1))
		}), "AuthorizationHeaderMalformed"},
		{"presigned, and expired", presigned(now.Add(-2*time.Minute), "60"), "AccessDenied"},
		{"presigned for too long", presigned(now, "700000"), "InvalidArgument"},
		{"presigned, and changed", after(presigned(now, "60"), func(r *http.Request) { r.URL.RawQuery += "&versionId=1" }), "SignatureDoesNotMatch"},
		{"presigned for longer than signed", after(presigned(now, "60"), func(r *http.Request) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "Expires=60", "Expires=61", 1)
		}), "SignatureDoesNotMatch"},
	} {
		if status, code, body := do(t, c.r); code != c.want || c.want == "" && body != "contents" || c.want != "" && strings.Contains(body, "contents") {
			t.Errorf("%s: %d %s %q, want %s", c.name, status, code, body, c.want)
		}
	}
	rebound := signed(key, now, func(r *http.Request) { r.Host = "attacker.example" })
	if status, _, body := do(t, rebound); status != http.StatusMisdirectedRequest {
		t.Errorf("under another name: %d %s", status, body)
	}
}

// What does not authenticate is never sent whole, and is told with its key: before the first
// byte with a status, behind it by the end of the connection.
func TestTamperedObjects(t *testing.T) {
	s := newStand(t)
	large, small := treetest.Bytes(9<<20, 1), treetest.Bytes(1000, 2)
	s.upload("scans", func(src string) {
		write(t, filepath.Join(src, "large"), large)
		write(t, filepath.Join(src, "small"), small)
	})
	for _, from := range []int64{0, 3 << 20} {
		s.start()
		c := s.client()
		s.store.Spoil(func(name string, off int64, r io.ReadCloser) (io.ReadCloser, error) {
			if strings.Contains(name, "/packs/") {
				r = &flipped{ReadCloser: r, off: off, from: from}
			}
			return r, nil
		})
		for _, key := range []string{"large", "small"} {
			for _, url := range []string{"", s.web.URL + "/~" + s.credentials.Token + "/scans/" + key} {
				want := map[string][]byte{"large": large, "small": small}[key]
				b, err := s.read(c, key, url)
				if err == nil && from == 0 || bytes.Equal(b, want) && err == nil && key == "large" || !bytes.HasPrefix(want, b) {
					t.Errorf("from %d on, %s %s: %d bytes, %v", from, key, url, len(b), err)
				}
				told := s.failures()
				if err != nil && (len(told) != 1 || !strings.HasPrefix(told[0], "scans/"+key+": ") || !strings.Contains(told[0], "authentication")) {
					t.Errorf("from %d on, %s %s: %v is told as %q", from, key, url, err, told)
				}
			}
		}
		s.store.Spoil(nil)
		s.end()
	}
}

// read gets an object, by its URL if it has one.
func (s *stand) read(c *s3.Client, key, url string) ([]byte, error) {
	if url == "" {
		o, err := c.GetObject(s.t.Context(), &s3.GetObjectInput{Bucket: aws.String("scans"), Key: &key})
		if err != nil {
			var api smithy.APIError
			if !errors.As(err, &api) || api.ErrorCode() != "InternalError" {
				s.t.Errorf("%s: %v", key, err)
			}
			return nil, err
		}
		defer o.Body.Close()
		return io.ReadAll(o.Body)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Get(url)
	must(s.t, err)
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, errors.New(r.Status)
	}
	return io.ReadAll(r.Body)
}

// flipped flips a bit in each KiB of an object from an offset on.
type flipped struct {
	io.ReadCloser
	off, from int64
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	for i := range p[:n] {
		if at := f.off + int64(i); at >= f.from && at%1024 == 1023 {
			p[i] ^= 4
		}
	}
	f.off += int64(n)
	return n, err
}

// A client that goes away in the middle is nobody's fault, and disturbs nobody.
func TestKilledClient(t *testing.T) {
	s := newStand(t)
	large := treetest.Bytes(40<<20, 1)
	s.upload("scans", func(src string) { write(t, filepath.Join(src, "large"), large) })
	s.start()
	c := s.client()
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		o, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("scans"), Key: aws.String("large")})
		must(t, err)
		_, err = io.CopyN(io.Discard, o.Body, 100_000)
		must(t, err)
		cancel()
		o.Body.Close()
	}
	if b, err := s.read(c, "large", ""); err != nil || !bytes.Equal(b, large) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if told := s.failures(); len(told) > 0 {
		t.Error(told)
	}
}

// Sockets are this user's only, take the place of dead ones and of nothing else, and other
// machines are let in only if that is said.
func TestListen(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:80", "example.com:80", "127.0.0.1", ""} {
		if e, err := serve.Listen(t.Context(), address, serve.ListenOptions{}); err == nil {
			e.Close()
			t.Errorf("listens at %q", address)
		}
	}
	e, err := serve.Listen(t.Context(), "0.0.0.0:0", serve.ListenOptions{AllowRemote: true})
	must(t, err)
	if !e.Remote || e.TLS() {
		t.Errorf("%+v", e)
	}
	must(t, e.Close())
	file := filepath.Join(t.TempDir(), "s")
	dead, err := net.Listen("unix", file)
	must(t, err)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	if _, err := serve.Listen(t.Context(), "unix:"+file, serve.ListenOptions{}); err == nil {
		t.Error("takes the socket of another process")
	}
	must(t, dead.Close())
	e, err = serve.Listen(t.Context(), "unix:"+file, serve.ListenOptions{})
	must(t, err)
	info, err := os.Stat(file)
	must(t, err)
	if info.Mode().Perm() != 0o600 || e.URL != "unix:"+file {
		t.Errorf("%v, %s", info.Mode(), e.URL)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- e.Serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") }))
	}()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", file)
	}}
	r, err := (&http.Client{Transport: transport}).Get("http://anything/")
	must(t, err)
	b, err := io.ReadAll(r.Body)
	must(t, err)
	r.Body.Close()
	transport.CloseIdleConnections()
	cancel()
	must(t, <-ended)
	if left, _ := os.ReadDir(filepath.Dir(file)); string(b) != "here" || len(left) > 0 {
		t.Errorf("%q, and %v is left", b, left)
	}
	write(t, file, []byte("a file"))
	if _, err := serve.Listen(t.Context(), "unix:"+file, serve.ListenOptions{}); err == nil {
		t.Error("replaces a file")
	}
}

// Credentials stay the same in their file, which others must not be able to read.
func TestCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c")
	c, err := serve.KeepCredentials(file)
	must(t, err)
	again, err := serve.KeepCredentials(file)
	must(t, err)
	info, err := os.Stat(file)
	must(t, err)
	if c != again || info.Mode().Perm() != 0o600 || c == serve.NewCredentials() || len(c.SecretAccessKey) != 40 || len(c.AccessKeyID) != 20 {
		t.Errorf("%v", info.Mode())
	}
	for _, text := range []string{c.AccessKeyID, c.SecretAccessKey, c.Token} {
		if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" { // it could be taken for a flag
			t.Errorf("%q has other characters than letters and digits", text)
		}
	}
	must(t, os.Chmod(file, 0o640))
	if _, err := serve.KeepCredentials(file); err == nil || strings.Contains(err.Error(), c.SecretAccessKey) {
		t.Error(err)
	}
	for _, text := range []string{"", "AWS_ACCESS_KEY_ID=a\n", strings.Replace(string(c.Lines()), c.Token, "short", 1), string(c.Lines()) + "AWS_ACCESS_KEY_ID=b\n", string(c.Lines()) + "X=1\n"} {
		must(t, os.Remove(file))
		must(t, os.WriteFile(file, []byte(text), 0o600))
		if _, err := serve.KeepCredentials(file); err == nil || strings.Contains(err.Error(), c.SecretAccessKey) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
