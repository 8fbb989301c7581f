package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/vaultpack/vaultpack/serve"
	"github.com/vaultpack/vaultpack/serve/s3api"
)

// Whatever a request says: nothing panics, without a signature nothing is sent, and with one
// only what was asked for, of this dataset, and XML that can be read.
func FuzzS3Requests(f *testing.F) {
	s := newStand(f)
	s.upload("scans", func(src string) {
		write(f, filepath.Join(src, "a b", "ä+.txt"), []byte(secretContents))
		write(f, filepath.Join(src, "empty"), nil)
	})
	c, err := serve.Open(f.Context(), s.vault, serve.Options{})
	must(f, err)
	f.Cleanup(func() { must(f, c.Close()) })
	h, err := s3api.New(c, s.credentials, s.fail)
	must(f, err)
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /scans?list-type=2&prefix=a&delimiter=%2F&max-keys=1&encoding-type=url HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /scans?list-type=2&continuation-token=%00&start-after=%FF HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /scans?versions&key-marker=a&version-id-marker=1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /scans/a%20b/%C3%A4%2B.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=3-8\r\n\r\n",
		"GET /scans/a%20b/%C3%A4%2B.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=-5\r\nIf-Range: \"x\"\r\n\r\n",
		"GET /scans/a%20b/%C3%A4%2B.txt?versionId=9999999999999999999 HTTP/1.1\r\nHost: x\r\nRange: bytes=9-1,3-\r\n\r\n",
		"HEAD /scans/empty?partNumber=1 HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\n\r\n",
		"GET /scans.v1/a%20b/..%2Fempty HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
		"PUT /scans/new HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"GET /scans/empty?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=1&X-Amz-Date=20260101T000000Z&X-Amz-Expires=-1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /scans/empty HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a/20260101/r/s3/aws4_request,SignedHeaders=host;;,Signature=\r\nX-Amz-Date: 20260101T000000Z\r\nX-Amz-Content-Sha256: x\r\n\r\n",
	} {
		f.Add([]byte(request))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		parse := func() *http.Request {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
			if err != nil {
				t.Skip()
			}
			return r.WithContext(t.Context())
		}
		if w := answer(h, parse()); w.Code < 300 || strings.Contains(w.Body.String(), secretContents[:6]) {
			t.Errorf("without a signature: %d %s", w.Code, w.Body)
		}
		r := parse()
		r.Header.Del("Authorization")
		r.Header.Set("X-Amz-Content-Sha256", noBody)
		key := aws.Credentials{AccessKeyID: s.credentials.AccessKeyID, SecretAccessKey: s.credentials.SecretAccessKey}
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		if err := signer.SignHTTP(context.Background(), key, r, noBody, "s3", "us-east-1", time.Now()); err != nil {
			t.Skip()
		}
		w := answer(h, r)
		isObject := w.Header().Get("Etag") != "" && w.Code < 300
		switch {
		case isObject && r.Method == http.MethodGet:
			if !strings.Contains(secretContents, w.Body.String()) {
				t.Errorf("%d, and contents that no file has: %q", w.Code, w.Body)
			}
		case w.Body.Len() > 0:
			for d := xml.NewDecoder(w.Body); ; {
				if _, err := d.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%d: %v", w.Code, err)
				}
			}
		}
	})
}

const secretContents = "q7-contents-that-nobody-but-their-owner-may-see-0123456789"

func answer(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
