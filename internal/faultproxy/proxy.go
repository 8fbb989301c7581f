// Package faultproxy stands between an S3 client and a server and makes requests
// fail as a script says: the third UploadPart is reset, or the first
// CompleteMultipartUpload is performed but its response is lost. At the end of the
// test it checks that every fault occurred, so that no test passes because its
// fault never happened.
//
// Requests are forwarded with their Host header, so their signatures stay valid.
package faultproxy

import (
	"bytes"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A Fault says which requests fail, and how.
type Fault struct {
	// Op is the S3 operation, such as "UploadPart"; empty means any.
	Op string
	// Path is a substring of the request's path; empty means any.
	Path string
	// First is which of the requests that match Op and Path is the first to fail,
	// counted from 1; 0 means 1.
	First int
	// Times is how many of them fail; 0 means 1, and a negative number all.
	Times int
	// Do is what happens to them.
	Do Action

	seen, met int
}

// A Proxy is a running proxy. It is safe for concurrent use.
type Proxy struct {
	// URL is the endpoint for clients.
	URL string
	// CA is the certificate, in PEM, that clients must trust; nil over http.
	CA []byte

	server *httptest.Server
	target *url.URL
	next   http.RoundTripper
	done   chan struct{}

	mu     sync.Mutex
	faults []*Fault
	ops    []string
}

// New starts a proxy in front of the endpoint target, which it reaches through
// next. It stops when the test ends. The test fails if a fault has not occurred as
// often as it should.
func New(t testing.TB, target string, next http.RoundTripper, faults ...*Fault) *Proxy {
	t.Helper()
	return start(t, false, target, next, faults)
}

// NewTLS is like New, but clients connect over https.
func NewTLS(t testing.TB, target string, next http.RoundTripper, faults ...*Fault) *Proxy {
	t.Helper()
	return start(t, true, target, next, faults)
}

func start(t testing.TB, https bool, target string, next http.RoundTripper, faults []*Fault) *Proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: u, next: next, faults: faults, done: make(chan struct{})}
	if tr, ok := next.(*http.Transport); ok {
		tr.DisableCompression = true // bodies are passed through unchanged
	}
	p.server = httptest.NewUnstartedServer(p)
	if https {
		p.server.Config.ErrorLog = log.New(io.Discard, "", 0) // from clients that give up
		p.server.StartTLS()
		p.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	} else {
		p.server.Start()
	}
	p.URL = p.server.URL
	t.Cleanup(func() {
		close(p.done)
		p.server.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, f := range p.faults {
			if f.met == 0 || f.met < f.Times {
				t.Errorf("a fault of %s was met %d times, scripted for %d; the requests were %q", f.Op, f.met, max(f.Times, 1), p.ops)
			}
		}
	})
	return p
}

// Ops returns the operations requested so far, in order.
func (p *Proxy) Ops() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.ops)
}

// Count returns how many of them were op.
func (p *Proxy) Count(op string) (n int) {
	for _, o := range p.Ops() {
		if o == op {
			n++
		}
	}
	return n
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &Exchange{Op: operation(r), Request: r, p: p, w: w}
	if do := p.match(x); do != nil {
		do(x)
		return
	}
	x.Answer(x.Forward())
}

// match finds the fault for a request. A request meets at most one fault.
func (p *Proxy) match(x *Exchange) Action {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ops = append(p.ops, x.Op)
	var do Action
	for _, f := range p.faults {
		if f.Op != "" && f.Op != x.Op || !strings.Contains(x.Request.URL.Path, f.Path) {
			continue
		}
		f.seen++
		if do == nil && f.seen >= max(f.First, 1) && (f.Times < 0 || f.met < max(f.Times, 1)) {
			f.met++
			do = f.Do
		}
	}
	return do
}

// operation returns the name of the S3 operation, for requests with the bucket in the path.
func operation(r *http.Request) string {
	q := r.URL.Query()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	object := key != ""
	switch {
	case r.Method == http.MethodPut && q.Has("partNumber"):
		return "UploadPart"
	case r.Method == http.MethodPut && object && len(q) <= 1: // the SDK adds x-id
		return "PutObject"
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "CreateMultipartUpload"
	case r.Method == http.MethodPost && q.Has("uploadId"):
		return "CompleteMultipartUpload"
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		return "AbortMultipartUpload"
	case r.Method == http.MethodDelete && q.Has("versionId"):
		return "DeleteObjectVersion"
	case r.Method == http.MethodDelete && object:
		return "DeleteObject"
	case r.Method == http.MethodGet && q.Has("list-type"):
		return "ListObjectsV2"
	case r.Method == http.MethodGet && q.Has("uploads"):
		return "ListMultipartUploads"
	case r.Method == http.MethodGet && q.Has("versions"):
		return "ListObjectVersions"
	case r.Method == http.MethodGet && object:
		return "GetObject"
	case r.Method == http.MethodHead && object:
		return "HeadObject"
	}
	return r.Method
}

// An Exchange is a request that an Action handles.
type Exchange struct {
	Op      string
	Request *http.Request

	p *Proxy
	w http.ResponseWriter
}

// A Response is the server's response, read completely.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	Length string // the Content-Length header, which HEAD has without a body
}

// Forward sends the request to the server. If that fails, it returns nil.
func (x *Exchange) Forward() *Response {
	body, err := io.ReadAll(x.Request.Body)
	if err != nil {
		return nil // the client has gone
	}
	out := x.Request.Clone(x.Request.Context())
	out.URL.Scheme, out.URL.Host = x.p.target.Scheme, x.p.target.Host
	out.RequestURI = ""
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		out.Body = http.NoBody
	}
	for _, h := range []string{"Connection", "Expect"} {
		out.Header.Del(h)
	}
	resp, err := x.p.next.RoundTrip(out)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil
	}
	h := resp.Header.Clone()
	h.Del("Connection")
	return &Response{Status: resp.StatusCode, Header: h, Body: b, Length: h.Get("Content-Length")}
}

// Answer sends a response to the client; if it is nil, it resets the connection.
func (x *Exchange) Answer(r *Response) {
	if r == nil {
		x.Reset()
		return
	}
	x.begin(r)
	x.w.Write(r.Body)
}

func (x *Exchange) begin(r *Response) {
	for k, v := range r.Header {
		x.w.Header()[k] = v
	}
	x.w.WriteHeader(r.Status)
}
