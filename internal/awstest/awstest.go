// Package awstest is a small in-process AWS, for tests of code that creates the key,
// bucket and roles, and uses them: STS, IAM, S3, and KMS (package kmstest). It
// enforces AWS's documented limits on sizes and characters, knows AWS's partitions and
// Regions, and simulates eventual consistency: a new resource is not visible
// everywhere at once. Any call can be made to fail.
package awstest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
	"github.com/vaultpack/vaultpack/internal/arn"
)

// Account is the account of the caller, its user named admin.
const Account = kmstest.Account

const accessKey = "admin"

// A Server acts as AWS: it is an [http.Handler], and an [http.RoundTripper] that
// answers in process. It is safe for concurrent use.
type Server struct {
	KMS    *kmstest.Server
	Region string
	// Slow makes everything newly created appear unknown, or busy, to the first
	// change that follows.
	Slow bool
	// Refuses are the checksums of objects that the server does not take: crc64nvme.
	Refuses []string
	// Meet decides what happens to a call. If it is nil or returns the zero Fate, the call is
	// answered normally.
	Meet func(Call) Fate

	mu      sync.Mutex
	calls   []Call
	roles   map[string]*Role
	users   map[string]bool
	codes   map[string]bool // codes of MFA devices that were used
	buckets map[string]*Bucket
	fresh   map[string]bool // created, and not yet the subject of a change
}

// A Call is a request that the server received. Number counts all of them from 1.
type Call struct {
	Service, Op string
	Number      int
}

// A Fate is what happens to a call: an AWS error instead of the answer, or a
// connection that breaks before or after the call is carried out.
type Fate struct {
	Status        int
	Code, Message string
	Header        map[string]string
	Cut, Lost     bool
}

// ErrCut is the error of a call whose connection breaks.
var ErrCut = errors.New("the connection was cut")

// New returns an empty AWS in the Region's partition.
func New(region string) *Server {
	s := &Server{Region: region, roles: map[string]*Role{}, users: map[string]bool{"admin": true}, codes: map[string]bool{}, buckets: map[string]*Bucket{}, fresh: map[string]bool{}}
	s.KMS = kmstest.NewServer(kmstest.Principals(s.knows))
	return s
}

// Config returns the SDK configuration for the caller. It does not retry unless a
// client asks for it.
func (s *Server) Config() aws.Config {
	return aws.Config{Region: s.Region, Credentials: credentials.NewStaticCredentialsProvider(accessKey, "not a secret", ""),
		BaseEndpoint: aws.String("http://aws.invalid"), HTTPClient: &http.Client{Transport: s}}
}

// Partition returns the partition of the Region.
func (s *Server) Partition() string { return arn.Partition(s.Region) }

// IAM returns the ARN of an IAM resource in the account, such as "role/x".
func (s *Server) IAM(resource string) string {
	return "arn:" + s.Partition() + ":iam::" + Account + ":" + resource
}

// AddUser creates a user.
func (s *Server) AddUser(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[name] = true
}

// Calls returns the calls so far, in order.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// knows reports whether a principal exists and is already visible to KMS.
func (s *Server) knows(arn string) bool {
	f := strings.SplitN(arn, ":", 6)
	if len(f) < 6 || f[4] != Account || f[5] == "root" {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kind, path, _ := strings.Cut(f[5], "/")
	name := path[strings.LastIndex(path, "/")+1:]
	if kind == "user" {
		return s.users[name]
	}
	r := s.roles[name]
	return r != nil && r.ARN == arn && !s.isFresh("principal "+name)
}

// isFresh reports whether this is the first change of something newly created.
func (s *Server) isFresh(what string) bool {
	was := s.fresh[what]
	delete(s.fresh, what)
	return was
}

func (s *Server) made(what string) {
	if s.Slow {
		s.fresh[what] = true
	}
}

// A failure is an error in the services' own format.
type failure struct {
	status    int
	code, msg string
	header    map[string]string
}

func (f *failure) Error() string { return f.code + ": " + f.msg }

func fail(status int, code, format string, args ...any) error {
	return &failure{status: status, code: code, msg: fmt.Sprintf(format, args...)}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resp, err := s.RoundTrip(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body)
}

// RoundTrip answers one request in process.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, context.Cause(r.Context())
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
	}
	call, form := classify(r, body)
	s.mu.Lock()
	call.Number = len(s.calls) + 1
	s.calls = append(s.calls, call)
	meet := s.Meet
	s.mu.Unlock()
	var fate Fate
	if meet != nil {
		fate = meet(call)
	}
	w := httptest.NewRecorder()
	switch {
	case fate.Cut:
		return nil, ErrCut
	case fate.Code != "":
		write(w, r, call.Service, &failure{status: cmp.Or(fate.Status, http.StatusBadRequest), code: fate.Code, msg: fate.Message, header: fate.Header})
	default:
		s.carryOut(w, r, call, form, body)
	}
	if fate.Lost {
		return nil, ErrCut
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// classify determines which call of which service a request is.
func classify(r *http.Request, body []byte) (Call, url.Values) {
	if t := r.Header.Get("X-Amz-Target"); t != "" {
		_, op, _ := strings.Cut(t, ".")
		return Call{Service: "kms", Op: op}, nil
	}
	if strings.Contains(r.Header.Get("Content-Type"), "form-urlencoded") {
		form, err := url.ParseQuery(string(body))
		if err == nil && form.Get("Action") != "" {
			return Call{Service: "iam", Op: form.Get("Action")}, form
		}
	}
	return Call{Service: "s3", Op: s3Op(r)}, nil
}

func (s *Server) carryOut(w http.ResponseWriter, r *http.Request, call Call, form url.Values, body []byte) {
	if call.Service == "kms" {
		if s.busyKey(call.Op, body) {
			write(w, r, "kms", fail(400, "NotFoundException", "the key does not exist yet, here").(*failure))
			return
		}
		q := r.Clone(r.Context())
		q.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		s.KMS.ServeHTTP(rec, q)
		if call.Op == "CreateKey" && rec.Code == http.StatusOK {
			s.mu.Lock()
			s.made("key")
			s.mu.Unlock()
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var text string
	var err error
	if call.Service == "iam" {
		text, err = s.iam(form)
		text = fmt.Sprintf("<%[1]sResponse><%[1]sResult>%s</%[1]sResult></%[1]sResponse>", call.Op, text)
	} else {
		text, err = s.s3(w, r, body)
	}
	var f *failure
	if errors.As(err, &f) {
		write(w, r, call.Service, f)
		return
	}
	if text != "" {
		w.Header().Set("Content-Type", "text/xml")
		io.WriteString(w, text)
	}
}

// busyKey makes the first change of a new key fail as if KMS did not know the key yet.
func (s *Server) busyKey(op string, body []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch op {
	case "EnableKeyRotation", "CreateAlias", "PutKeyPolicy":
		return s.isFresh("key")
	}
	return false
}

func write(w http.ResponseWriter, r *http.Request, service string, f *failure) {
	for k, v := range f.header {
		w.Header().Set(k, v)
	}
	if service == "kms" {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(f.status)
		fmt.Fprintf(w, `{"__type":%q,"message":%q}`, f.code, f.msg)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(f.status)
	if r.Method == http.MethodHead {
		return
	}
	text := "<Code>" + f.code + "</Code><Message>" + escape(f.msg) + "</Message>"
	if service == "iam" {
		fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type>%s</Error></ErrorResponse>", text)
		return
	}
	fmt.Fprintf(w, "<Error>%s</Error>", text)
}

func escape(text string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(text))
	return b.String()
}

// tagText matches what AWS accepts in tags; policyText in policies; aboutText in
// the description of a role.
var (
	tagText    = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
	policyText = regexp.MustCompile(`^[\t\n\r\x{20}-\x{ff}]+$`)
	aboutText  = regexp.MustCompile(`^[\t\n\r\x{20}-\x{7e}\x{a1}-\x{ff}]*$`)
)

// tag checks a tag against AWS's restrictions.
func tagFits(key, value string) bool {
	return key != "" && len([]rune(key)) <= 128 && len([]rune(value)) <= 256 && tagText.MatchString(key) && tagText.MatchString(value) && !strings.HasPrefix(key, "aws:")
}
