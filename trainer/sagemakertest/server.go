package sagemakertest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// A Config says what a Server's jobs can access.
type Config struct {
	// S3 is the endpoint of the S3 server with the channels, and S3CA the
	// certificate, in PEM, that signed the server's, if the system does not know
	// it.
	S3   string
	S3CA []byte
	// S3Region is the Region of its buckets; "" means the Region of the job, where
	// AWS requires them to be.
	S3Region string
	// Roles maps the ARNs of the roles that a job may have to their credentials for
	// S3. The container gets the same credentials.
	Roles map[string]aws.Credentials
	// Images are the images that a job may use, by URI. If there are none, every
	// URI is accepted for a job with its own entrypoint.
	Images map[string]Image
	// Env is set in every container, after the variables of SageMaker and the job:
	// AWS_ENDPOINT_URL_KMS, for example.
	Env map[string]string
	// StopGrace is the time from SIGTERM to SIGKILL; 0 for the 120 seconds of AWS.
	StopGrace time.Duration
	// Pause is the shortest time that a job stays in Starting and in Interrupted.
	Pause time.Duration
	// CheckpointEvery is the interval between checks for new checkpoints; 0 means
	// one second.
	CheckpointEvery time.Duration
	// Dir is the folder in which the hosts' folders are created, which are removed
	// when a job ends; "" means the system's temporary folder.
	Dir string
}

// An Image stands for a training image: it is a command on this machine.
type Image struct {
	Entrypoint []string          // run with the argument "train" unless the job says otherwise
	Env        map[string]string // as ENV in a Dockerfile; PATH is this process's unless set here
	WorkDir    string            // as WORKDIR; "" for /
}

// A Server is a fake SageMaker and CloudWatch Logs that listens on loopback. It is
// safe for concurrent use.
type Server struct {
	// URL is the endpoint of both services.
	URL string

	cfg  Config
	http *http.Server
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	s3   *http.Client

	mu       sync.Mutex
	jobs     map[jobKey]*job
	order    []*job
	groups   map[logKey]*logGroup
	creds    map[string]aws.Credentials
	outcomes map[string]Outcome
	faults   map[string][]Fault
	calls    []Call
}

// A jobKey identifies a job. Training and processing jobs have separate namespaces.
type jobKey struct {
	region, name string
	processing   bool
}

type logKey struct{ region, group string }

// Start starts a server on a free port of 127.0.0.1.
func Start(cfg Config) (*Server, error) {
	if cfg.S3 == "" {
		return nil, errors.New("sagemakertest: Config.S3 is empty: it names the endpoint of the S3 server")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if cfg.S3CA != nil {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(cfg.S3CA) {
			return nil, errors.New("sagemakertest: Config.S3CA holds no certificate in PEM")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	cfg.StopGrace = cmp.Or(cfg.StopGrace, 120*time.Second)
	cfg.CheckpointEvery = cmp.Or(cfg.CheckpointEvery, time.Second)
	cfg.Dir = cmp.Or(cfg.Dir, os.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{URL: "http://" + l.Addr().String(), cfg: cfg, s3: &http.Client{Transport: transport},
		jobs: map[jobKey]*job{}, groups: map[logKey]*logGroup{}, creds: map[string]aws.Credentials{},
		outcomes: map[string]Outcome{}, faults: map[string][]Fault{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{Handler: s}
	go s.http.Serve(l)
	return s, nil
}

// Close kills the running jobs, waits for them, and closes the server.
func (s *Server) Close() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.wg.Wait()
	s.http.Close()
	s.s3.CloseIdleConnections()
}

// A Fault happens to one call instead of, or before, the correct response.
type Fault struct {
	Code    string        // the error's type: "ThrottlingException", …; "" for the normal answer
	Message string        // the error's message
	Status  int           // HTTP status; 0 for 400
	Delay   time.Duration // before anything is done
	Drop    bool          // the call is carried out, then the connection breaks
}

// Fail applies the fault to the next n calls of the operation
// ("DescribeTrainingJob", or "*" for any). Faults of one operation are used in
// the order in which they were set, and before those of "*".
func (s *Server) Fail(operation string, n int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.faults[operation] = append(s.faults[operation], f)
	}
}

// Unmet returns the number of faults that were set but not used. A test that sets
// faults should check it at the end.
func (s *Server) Unmet() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		n += len(f)
	}
	return n
}

// A Call is a request that the server received, including retries.
type Call struct {
	Operation string
	Region    string
	Body      json.RawMessage // as it was sent
	Error     string          // the type of the error that was returned; "" for none
}

// Calls returns the calls so far, in order, or those of the named operations.
func (s *Server) Calls(operations ...string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Call
	for _, c := range s.calls {
		if len(operations) == 0 || slices.Contains(operations, c.Operation) {
			out = append(out, c)
		}
	}
	return out
}

// A request is one call as seen by the operations, which run under the server's
// lock.
type request struct {
	*Server
	ctx    context.Context
	region string
	body   []byte
}

type handler func(*request) (any, error)

// on adapts an operation to its input type.
func on[In any](f func(*request, *In) (any, error)) handler {
	return func(r *request) (any, error) {
		in := new(In)
		if err := json.Unmarshal(r.body, in); err != nil {
			return nil, fail("SerializationException", "%v", err)
		}
		return f(r, in)
	}
}

// The operations, by X-Amz-Target.
var operations = map[string]handler{
	"SageMaker.CreateTrainingJob":     (*request).createTrainingJob,
	"SageMaker.DescribeTrainingJob":   on((*request).describeTrainingJob),
	"SageMaker.StopTrainingJob":       on((*request).stopTrainingJob),
	"SageMaker.ListTrainingJobs":      on((*request).listTrainingJobs),
	"SageMaker.CreateProcessingJob":   (*request).createProcessingJob,
	"SageMaker.DescribeProcessingJob": on((*request).describeProcessingJob),
	"SageMaker.StopProcessingJob":     on((*request).stopProcessingJob),
	"SageMaker.ListProcessingJobs":    on((*request).listProcessingJobs),
	"SageMaker.AddTags":               on((*request).addTags),
	"SageMaker.DeleteTags":            on((*request).deleteTags),
	"SageMaker.ListTags":              on((*request).listTags),

	"Logs_20140328.DescribeLogStreams": on((*request).describeLogStreams),
	"Logs_20140328.GetLogEvents":       on((*request).getLogEvents),
	"Logs_20140328.FilterLogEvents":    on((*request).filterLogEvents),
}

// ServeHTTP handles one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	if id, ok := strings.CutPrefix(hr.URL.Path, credentialsPath); ok {
		s.serveCredentials(w, id)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, 4<<20))
	if err != nil {
		return // the client has gone
	}
	target := hr.Header.Get("X-Amz-Target")
	_, op, _ := strings.Cut(target, ".")
	f := s.takeFault(op)
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-hr.Context().Done():
			return
		}
	}
	out, err := s.do(hr, target, op, body, f)
	if f.Drop {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", rand.Text())
	var ae *apiError
	if errors.As(err, &ae) {
		name := "message"
		if ae.code == "ResourceInUse" || ae.code == "ResourceNotFound" || ae.code == "ResourceLimitExceeded" {
			name = "Message" // as in SageMaker's model
		}
		w.WriteHeader(ae.status)
		out = map[string]string{"__type": ae.code, name: ae.msg}
	}
	if out != nil { // operations without an output answer with an empty body
		json.NewEncoder(w).Encode(out)
	}
}

func (s *Server) takeFault(op string) (f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range []string{op, "*"} {
		if q := s.faults[name]; len(q) > 0 {
			s.faults[name] = q[1:]
			return q[0]
		}
	}
	return f
}

// do carries out a call. All its errors are of type *apiError.
func (s *Server) do(hr *http.Request, target, op string, body []byte, f Fault) (out any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.calls)
	s.calls = append(s.calls, Call{Operation: op, Body: body})
	defer func() {
		var ae *apiError
		switch {
		case errors.As(err, &ae):
			s.calls[n].Error = ae.code
		case f.Drop:
			s.calls[n].Error = "dropped"
		}
	}()
	service := "sagemaker"
	if strings.HasPrefix(target, "Logs_") {
		service = "logs"
	}
	region, err := credentialScope(hr.Header.Get("Authorization"), service)
	if err != nil {
		return nil, err
	}
	s.calls[n].Region = region
	if f.Code != "" {
		return nil, &apiError{cmp.Or(f.Status, http.StatusBadRequest), f.Code, f.Message}
	}
	handle := operations[target]
	if handle == nil {
		return nil, fail("UnknownOperationException", "sagemakertest has no operation %q", target)
	}
	return handle(&request{Server: s, ctx: hr.Context(), region: region, body: body})
}

// credentialScope returns the Region that a request was signed for. The signature
// is not checked.
func credentialScope(auth, service string) (region string, err error) {
	_, cred, ok := strings.Cut(auth, "Credential=")
	if !ok {
		return "", fail("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	cred, _, _ = strings.Cut(cred, ",")
	p := strings.Split(strings.TrimSpace(cred), "/")
	if len(p) < 5 {
		return "", fail("IncompleteSignatureException", "the credential is malformed")
	}
	if got := p[len(p)-2]; got != service {
		return "", fail("InvalidSignatureException", "Credential should be scoped to correct service: '%s'.", service)
	}
	return p[len(p)-3], nil
}

// An apiError is an error in the form in which it is returned.
type apiError struct {
	status int
	code   string
	msg    string
}

func (e *apiError) Error() string { return e.code + ": " + e.msg }

func fail(code, format string, args ...any) error {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error {
	return fail("ValidationException", format, args...)
}

// notDone returns the error for what SageMaker supports but the fake does not.
func notDone(format string, args ...any) error {
	return invalid("not done by sagemakertest: "+format, args...)
}

// epoch is a time as in JSON 1.1, in seconds.
type epoch time.Time

func (t epoch) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(time.Time(t).UnixMilli())/1000), nil
}

func (t *epoch) UnmarshalJSON(b []byte) error {
	var sec float64
	if err := json.Unmarshal(b, &sec); err != nil {
		return err
	}
	*t = epoch(time.UnixMilli(int64(sec * 1000)))
	return nil
}
