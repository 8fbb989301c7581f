package s3store_test

import (
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// An oneObject is an S3 server with a single object, which counts its requests.
// From the request fails on, fail deals with them; 0 is never.
type oneObject struct {
	mu       sync.Mutex
	data     string
	sse      bool // the object was stored with SSE-KMS
	gone     bool
	requests int
	fails    int
	fail     func(s *oneObject, w http.ResponseWriter, r *http.Request)
	noSSE    bool   // from now on it ignores what is asked for
	stop     func() // ends the server: what it holds may be looked at then
}

func (s *oneObject) etag() string { return fmt.Sprintf(`"%x"`, md5.Sum([]byte(s.data))) }

func (s *oneObject) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.fails > 0 && s.requests >= s.fails {
		s.fail(s, w, r)
		return
	}
	s.serve(w, r)
}

func (s *oneObject) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodDelete:
		s.gone = true
		w.WriteHeader(http.StatusNoContent)
	case s.gone:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPut:
		b, _ := io.ReadAll(r.Body)
		if m := r.Header.Get("If-Match"); m != "" && m != s.etag() {
			w.WriteHeader(http.StatusPreconditionFailed)
			io.WriteString(w, "<Error><Code>PreconditionFailed</Code></Error>")
			return
		}
		s.data, s.sse = string(b), !s.noSSE && r.Header.Get("X-Amz-Server-Side-Encryption") == "aws:kms"
		w.Header().Set("ETag", s.etag())
	default:
		w.Header().Set("ETag", s.etag())
		if s.sse {
			w.Header().Set("X-Amz-Server-Side-Encryption", "aws:kms")
			w.Header().Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "my-key")
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(s.data)))
		if r.Method == http.MethodGet {
			io.WriteString(w, s.data)
		}
	}
}

func (s *oneObject) open(t *testing.T) *s3store.Store {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.stop = server.Close
	return openS3(t, "s3://bucket/p", s3store.Settings{Endpoint: server.URL, KMSKey: "my-key", Attempts: 2, MaxBackoff: time.Millisecond,
		StallTimeout: time.Second, LoadOptions: []func(*config.LoadOptions) error{config.WithRegion("us-east-1"),
			config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("a", "b", ""))}})
}

// Whatever fails, and at whatever request, what Replace replaces is never lost:
// the object holds the old contents or the new ones, and the new ones with the
// encryption that was asked for if no error is returned.
func TestReplaceLosesNothing(t *testing.T) {
	refuse := func(status int) func(*oneObject, http.ResponseWriter, *http.Request) {
		return func(s *oneObject, w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }
	}
	lose := func(s *oneObject, w http.ResponseWriter, r *http.Request) {
		s.serve(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	ignore := func(s *oneObject, w http.ResponseWriter, r *http.Request) {
		s.noSSE = true
		s.serve(w, r)
	}
	for name, fail := range map[string]func(*oneObject, http.ResponseWriter, *http.Request){
		"403": refuse(403), "404": refuse(404), "412": refuse(412), "500": refuse(500), "answers are lost": lose, "SSE is ignored": ignore,
		"SSE is ignored, and then all is refused": func(s *oneObject, w http.ResponseWriter, r *http.Request) {
			if ignore(s, w, r); s.requests > s.fails+1 {
				s.fail = refuse(403)
			}
		},
		"SSE is ignored once": func(s *oneObject, w http.ResponseWriter, r *http.Request) {
			ignore(s, w, r)
			if r.Method == http.MethodPut {
				s.noSSE, s.fails = false, 0
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const old, data = "the old keyring", "the new keyring!"
			for at := 1; ; at++ {
				s := &oneObject{data: old, sse: true, fails: at, fail: fail}
				err := s.open(t).Replace(t.Context(), "d/ring", []byte(old), []byte(data))
				s.stop()
				switch {
				case s.gone || s.data != old && s.data != data:
					t.Fatalf("from request %d on: the object holds %q (deleted: %v) after: %v", at, s.data, s.gone, err)
				case err == nil && (s.data != data || !s.sse):
					t.Fatalf("from request %d on: %q, SSE %v, without an error", at, s.data, s.sse)
				}
				var sse *s3store.SSEError
				if errors.As(err, &sse) {
					if !sse.Replaced || sse.Removed || sse.Restored != (s.data == old) && sse.Err == nil {
						t.Fatalf("from request %d on: %+v, and the object holds %q", at, sse, s.data)
					}
					if want := map[bool]string{true: "old contents were put back", false: "could not be put back"}[sse.Restored]; !strings.Contains(err.Error(), want) {
						t.Fatalf("no %q in %v", want, err)
					}
				}
				if s.fails > 0 && s.requests < at {
					if err != nil {
						t.Fatalf("without a fault: %v", err)
					}
					return
				}
			}
		})
	}
}

// What was created without the encryption is deleted, but not what another writer
// has put in its place meanwhile.
func TestCreatedByAnotherIsNotDeleted(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		s := &oneObject{noSSE: true, fails: 2}
		s.fail = func(s *oneObject, w http.ResponseWriter, r *http.Request) {
			if replaced && r.Method == http.MethodHead {
				s.data = "thy"
			}
			s.serve(w, r)
		}
		err := s.open(t).Create(t.Context(), "d/ring", []byte("mine"[:3]))
		s.stop()
		var sse *s3store.SSEError
		if !errors.As(err, &sse) || sse.Removed == replaced || s.gone == replaced {
			t.Errorf("replaced %v: deleted %v, %v", replaced, s.gone, err)
		}
	}
}

// What a server says that it has stored is compared: the size, and the key.
func TestSSEIsComparedWithWhatWasAskedFor(t *testing.T) {
	for what, c := range map[string]struct {
		header, value string
		is            error
	}{
		"the truth":     {"X-Amz-Server-Side-Encryption", "aws:kms", nil},
		"another key":   {"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "thy-key", &s3store.SSEError{}},
		"no key":        {"X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "", &s3store.SSEError{}},
		"S3's own keys": {"X-Amz-Server-Side-Encryption", "AES256", &s3store.SSEError{}},
		"shorter":       {"Content-Length", "7", errors.New("size")},
		"longer":        {"Content-Length", "9", errors.New("size")},
	} {
		s := &oneObject{fails: 2}
		s.fail = func(s *oneObject, w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodHead {
				s.serve(w, r)
				return
			}
			answer := httptest.NewRecorder()
			s.serve(answer, r)
			for name, values := range answer.Header() {
				w.Header()[name] = values
			}
			w.Header().Set(c.header, c.value)
		}
		err := s.open(t).Put(t.Context(), "d/new", write([]byte("12345678")))
		s.stop()
		var sse *s3store.SSEError
		if _, wantSSE := c.is.(*s3store.SSEError); (err == nil) != (c.is == nil) || errors.As(err, &sse) != wantSSE {
			t.Errorf("%s: %v", what, err)
		}
	}
}
