package kmstest

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vaultpack/vaultpack/internal/arn"
)

// Account is the account of principals that [Server.SetPrincipal] has not set.
const Account = "111122223333"

// A Server is a fake KMS: an [http.Handler], and an [http.RoundTripper] that
// answers in process. It is safe for concurrent use.
type Server struct {
	now   func() time.Time
	file  string
	known func(arn string) bool // nil for everybody

	mu         sync.Mutex
	st         state
	dirty      bool
	principals map[string]string   // by access key ID
	iam        map[string][]string // actions by principal
	faults     map[string][]Fault
	calls      []Call
}

// An Option configures a new Server.
type Option func(*Server)

// Clock makes the server take the time from now, for deletions and rotations
// that become due in a test.
func Clock(now func() time.Time) Option { return func(s *Server) { s.now = now } }

// Principals makes the server refuse key policies that name a principal for
// which known returns false, as KMS does. known must not call the server.
func Principals(known func(arn string) bool) Option { return func(s *Server) { s.known = known } }

// NewServer returns a server without any keys.
func NewServer(opts ...Option) *Server {
	s := &Server{now: time.Now, st: newState(),
		principals: map[string]string{}, iam: map[string][]string{}, faults: map[string][]Fault{}}
	for _, o := range opts {
		o(s)
	}
	return s
}

// SetPrincipal sets the principal of requests signed with the access key ID: an
// ARN of an IAM user, a role's session, or an account's root. Requests with other
// IDs come from the user of that name in [Account].
func (s *Server) SetPrincipal(accessKeyID, arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.principals[accessKeyID] = arn
}

// SetIAM sets what the identity policy of the principal allows: actions such as
// "kms:Decrypt" or "kms:*", or none at all. It takes effect if a key policy
// leaves the decision to the account, as the default policy does. A principal
// without a call to SetIAM may do everything.
func (s *Server) SetIAM(principal string, actions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.iam[principal] = append([]string{}, actions...)
}

// SetKeyState puts a key, named by its ARN, into a state that no operation here
// leads to: Unavailable, Creating, Updating, PendingImport.
func (s *Server) SetKeyState(arn, keyState string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.st.Keys[arn]
	if k == nil {
		return fmt.Errorf("no key %s", arn)
	}
	k.State = keyState
	return s.save()
}

// A Fault happens to one call instead of, or before, the correct response.
type Fault struct {
	Code    string        // the error's type: "ThrottlingException", …; "" for the right answer
	Message string        // the error's message
	Status  int           // HTTP status; 0 for the usual one of Code
	Delay   time.Duration // before anything is done
	Drop    bool          // the connection breaks before there is an answer
}

// Fail applies the fault to the next n calls of the operation ("Decrypt", or "*"
// for any). Faults of one operation are used in the order in which they were
// set, and before those of "*".
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

// ClearFaults removes the faults that have not been used.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
}

// A Call is a request that the server received, including retries.
type Call struct {
	Operation         string
	Region            string
	Principal         string
	KeyID             string            // KeyId or DestinationKeyId, as the request has it
	SourceKeyID       string            // of ReEncrypt
	EncryptionContext map[string]string // that of the destination in ReEncrypt
	SourceContext     map[string]string // of ReEncrypt
	Error             string            // the type of the error that was returned; "" for none
}

// Calls returns the calls so far, in order, or those of the named operations.
func (s *Server) Calls(operations ...string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Call
	for _, c := range s.calls {
		if len(operations) == 0 || slices.Contains(operations, c.Operation) {
			c.EncryptionContext, c.SourceContext = maps.Clone(c.EncryptionContext), maps.Clone(c.SourceContext)
			out = append(out, c)
		}
	}
	return out
}

// ResetCalls discards the calls so far.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// A request is one call as seen by the operations, which run under the server's
// lock.
type request struct {
	*Server
	op, region, principal, account, via string
	body                                []byte
	call                                *Call
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

var operations = map[string]handler{
	"CreateKey":                       on((*request).createKey),
	"DescribeKey":                     on((*request).describeKey),
	"ListKeys":                        on((*request).listKeys),
	"EnableKey":                       on((*request).enableKey),
	"DisableKey":                      on((*request).disableKey),
	"ScheduleKeyDeletion":             on((*request).scheduleKeyDeletion),
	"CancelKeyDeletion":               on((*request).cancelKeyDeletion),
	"EnableKeyRotation":               on((*request).enableKeyRotation),
	"DisableKeyRotation":              on((*request).disableKeyRotation),
	"GetKeyRotationStatus":            on((*request).getKeyRotationStatus),
	"RotateKeyOnDemand":               on((*request).rotateKeyOnDemand),
	"ReplicateKey":                    on((*request).replicateKey),
	"GenerateDataKey":                 on((*request).generateDataKey),
	"GenerateDataKeyWithoutPlaintext": on((*request).generateDataKeyWithoutPlaintext),
	"Encrypt":                         on((*request).encrypt),
	"Decrypt":                         on((*request).decrypt),
	"ReEncrypt":                       on((*request).reEncrypt),
	"Sign":                            on((*request).sign),
	"Verify":                          on((*request).verify),
	"GetPublicKey":                    on((*request).getPublicKey),
	"CreateAlias":                     on((*request).createAlias),
	"UpdateAlias":                     on((*request).updateAlias),
	"DeleteAlias":                     on((*request).deleteAlias),
	"ListAliases":                     on((*request).listAliases),
	"UpdateKeyDescription":            on((*request).updateKeyDescription),
	"PutKeyPolicy":                    on((*request).putKeyPolicy),
	"GetKeyPolicy":                    on((*request).getKeyPolicy),
	"CreateGrant":                     on((*request).createGrant),
	"ListGrants":                      on((*request).listGrants),
	"RevokeGrant":                     on((*request).revokeGrant),
	"RetireGrant":                     on((*request).retireGrant),
	"TagResource":                     on((*request).tagResource),
	"UntagResource":                   on((*request).untagResource),
	"ListResourceTags":                on((*request).listResourceTags),
}

// ServeHTTP handles one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, 1<<20))
	if err != nil {
		return // the client has gone
	}
	target, _ := strings.CutPrefix(hr.Header.Get("X-Amz-Target"), "TrentService.")
	f := s.takeFault(target)
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-hr.Context().Done():
			f.Drop = true
		}
	}
	out, err := s.do(hr, target, body, f)
	if f.Drop {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", newUUID())
	var ae *apiError
	if errors.As(err, &ae) {
		// KMS writes "Message" for this one and "message" for the modelled ones.
		name := "message"
		if ae.code == "AccessDeniedException" {
			name = "Message"
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
func (s *Server) do(hr *http.Request, op string, body []byte, f Fault) (out any, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, Call{Operation: op})
	call := &s.calls[len(s.calls)-1]
	defer func() {
		var ae *apiError
		switch {
		case errors.As(err, &ae):
			call.Error = ae.code
		case f.Drop:
			call.Error = "dropped"
		}
	}()
	akid, region, err := credentialScope(hr.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	r := &request{Server: s, op: op, region: region, body: body, via: hr.Header.Get("X-Kmstest-Via-Service"), call: call}
	r.principal = cmp.Or(s.principals[akid], "arn:"+arn.Partition(region)+":iam::"+Account+":user/"+akid)
	r.account = field(r.principal, 4)
	call.Region, call.Principal = region, r.principal
	var ids struct {
		KeyId, DestinationKeyId, SourceKeyId                                     string
		EncryptionContext, DestinationEncryptionContext, SourceEncryptionContext map[string]string
	}
	json.Unmarshal(body, &ids) // for the log; the operation finds what is malformed
	call.KeyID, call.SourceKeyID = cmp.Or(ids.KeyId, ids.DestinationKeyId), ids.SourceKeyId
	call.EncryptionContext, call.SourceContext = ids.EncryptionContext, ids.SourceEncryptionContext
	if call.EncryptionContext == nil {
		call.EncryptionContext = ids.DestinationEncryptionContext
	}

	handle := operations[op]
	switch {
	case handle == nil:
		return nil, fail("UnknownOperationException", "kmstest has no operation %q", op)
	case f.Code != "":
		err := fail(f.Code, "%s", f.Message).(*apiError)
		err.status = cmp.Or(f.Status, err.status)
		return nil, err
	case f.Drop:
		return nil, nil
	}
	s.expire()
	if out, err = handle(r); err != nil {
		return nil, err
	}
	if s.dirty {
		if err := s.save(); err != nil {
			return nil, fail("KMSInternalException", "kmstest cannot write its file: %v", err)
		}
	}
	return out, nil
}

// credentialScope returns who signed and for which Region. The signature is not
// checked.
func credentialScope(auth string) (accessKeyID, region string, err error) {
	_, cred, ok := strings.Cut(auth, "Credential=")
	if !ok {
		return "", "", fail("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	cred, _, _ = strings.Cut(cred, ",")
	p := strings.Split(strings.TrimSpace(cred), "/")
	if len(p) < 5 {
		return "", "", fail("IncompleteSignatureException", "the credential is malformed")
	}
	n := len(p)
	if p[n-2] != "kms" {
		return "", "", fail("InvalidSignatureException", "Credential should be scoped to correct service: 'kms'.")
	}
	return strings.Join(p[:n-4], "/"), p[n-3], nil
}

// field returns the i-th part of an ARN, counted from 0.
func field(arn string, i int) string {
	if p := strings.SplitN(arn, ":", 6); len(p) == 6 {
		return p[i]
	}
	return ""
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
