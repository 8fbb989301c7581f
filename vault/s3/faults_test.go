package s3store_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// An outcome of an operation under a fault: it succeeds, or its error has the
// text. A failed write may or may not have persisted; it is never half there.
type outcome struct {
	op    string
	fault faultproxy.Fault
	err   string // empty: it succeeds
	is    error
}

type (
	fault  = faultproxy.Fault
	action = faultproxy.Action
)

var (
	refuse = faultproxy.Refuse
	lie    = faultproxy.LieThat
)

const slow = 10 * time.Second // no operation may take longer under a fault

func outcomes() []outcome {
	var all []outcome
	// Faults that pass. Whatever operation they hit, it succeeds.
	passing := []action{
		refuse(500, "InternalError"), lie(500, "InternalError"), refuse(503, "SlowDown"), lie(503, "SlowDown"),
		faultproxy.ResetRequest, faultproxy.LoseAnswer, faultproxy.Silence, faultproxy.SilenceAfter,
		faultproxy.ResetResponse, faultproxy.Truncate, faultproxy.Skewed(time.Hour),
	}
	for _, hit := range []struct{ op, api string }{
		{"large", "CreateMultipartUpload"}, {"large", "UploadPart"}, {"large", "CompleteMultipartUpload"}, {"large", "HeadObject"},
		{"small", "PutObject"}, {"small", "HeadObject"}, {"create", "PutObject"}, {"create", "HeadObject"},
		{"get", "GetObject"}, {"range", "GetObject"}, {"stat", "HeadObject"}, {"list", "ListObjectsV2"}, {"delete", "DeleteObject"},
	} {
		for _, do := range passing {
			all = append(all, outcome{op: hit.op, fault: fault{Op: hit.api, Do: do}})
		}
		// A request that fails twice.
		all = append(all, outcome{op: hit.op, fault: fault{Op: hit.api, Times: 2, Do: refuse(503, "SlowDown")}})
	}
	all = append(all,
		outcome{op: "large", fault: fault{Op: "UploadPart", First: 2, Do: faultproxy.ResetRequest}},
		// What S3 does when completing fails late.
		outcome{op: "large", fault: fault{Op: "CompleteMultipartUpload", Do: refuse(200, "InternalError")}},
		outcome{op: "large", fault: fault{Op: "CompleteMultipartUpload", Do: lie(200, "InternalError")}},
		// Bodies that break off and go on at the offset reached.
		outcome{op: "get", fault: fault{Op: "GetObject", Times: 3, Do: faultproxy.Truncate}},
		outcome{op: "get", fault: fault{Op: "GetObject", Times: 3, Do: faultproxy.ResetResponse}},
		outcome{op: "get", fault: fault{Op: "GetObject", Do: faultproxy.Stall}},
		outcome{op: "range", fault: fault{Op: "GetObject", Times: 3, Do: faultproxy.Truncate}},
		// A conflict is repeated.
		outcome{op: "create", fault: fault{Op: "PutObject", Times: 2, Do: refuse(409, "ConditionalRequestConflict")}},

		// Faults that stay.
		outcome{op: "large", fault: fault{Op: "UploadPart", Times: -1, Do: refuse(500, "InternalError")}, err: "the server fails"},
		outcome{op: "large", fault: fault{Op: "CompleteMultipartUpload", Times: -1, Do: refuse(503, "SlowDown")}, err: "overloaded"},
		outcome{op: "small", fault: fault{Op: "PutObject", Times: -1, Do: refuse(503, "SlowDown")}, err: "overloaded"},
		outcome{op: "create", fault: fault{Op: "PutObject", Times: -1, Do: refuse(500, "InternalError")}, err: "the server fails"},
		outcome{op: "get", fault: fault{Op: "GetObject", Times: -1, Do: refuse(500, "InternalError")}, err: "the server fails"},
		outcome{op: "get", fault: fault{Op: "GetObject", Times: -1, Do: faultproxy.Silence}, err: "timeout"},
		outcome{op: "list", fault: fault{Op: "ListObjectsV2", Times: -1, Do: faultproxy.LoseAnswer}, err: "connection reset"},
		// The write persisted each time, and each answer is lost: it succeeds.
		outcome{op: "large", fault: fault{Op: "CompleteMultipartUpload", Times: -1, Do: lie(500, "InternalError")}},
		outcome{op: "small", fault: fault{Op: "PutObject", Times: -1, Do: faultproxy.LoseAnswer}},
		outcome{op: "create", fault: fault{Op: "PutObject", Times: -1, Do: lie(500, "InternalError")}},
		outcome{op: "create", fault: fault{Op: "PutObject", Times: -1, Do: faultproxy.LoseAnswer}},
		// Someone else was first.
		outcome{op: "create", fault: fault{Op: "PutObject", Do: refuse(412, "PreconditionFailed")}, is: fs.ErrExist, err: "exist"},
		// A damaged body.
		outcome{op: "get", fault: fault{Op: "GetObject", Do: faultproxy.Corrupt}, err: "did not arrive as it was stored"},
		// Clock and credentials.
		outcome{op: "large", fault: fault{Op: "UploadPart", First: 2, Times: -1, Do: refuse(400, "ExpiredToken")}, is: fs.ErrPermission, err: "credentials have expired"},
		outcome{op: "create", fault: fault{Op: "PutObject", Times: -1, Do: refuse(400, "ExpiredToken")}, is: fs.ErrPermission, err: "credentials have expired"},
		outcome{op: "get", fault: fault{Op: "GetObject", Times: -1, Do: refuse(400, "ExpiredToken")}, is: fs.ErrPermission, err: "credentials have expired"},
		outcome{op: "small", fault: fault{Op: "PutObject", Times: -1, Do: faultproxy.Skewed(0)}, err: "clock of this machine"},
		outcome{op: "create", fault: fault{Op: "PutObject", Times: -1, Do: faultproxy.Skewed(24 * time.Hour)}, err: "clock of this machine"},
		outcome{op: "small", fault: fault{Op: "PutObject", Times: -1, Do: refuse(403, "AccessDenied")}, is: fs.ErrPermission, err: "kms:GenerateDataKey on my-key"},
		outcome{op: "small", fault: fault{Op: "PutObject", Times: -1, Do: refuse(400, "KMS.DisabledException")}, err: "is disabled"},
		outcome{op: "small", fault: fault{Op: "PutObject", Times: -1, Do: refuse(400, "KMS.KMSInvalidStateException")}, err: "cancel-key-deletion"},
		outcome{op: "small", fault: fault{Op: "PutObject", Times: -1, Do: refuse(301, "PermanentRedirect")}, err: "set the bucket's region"},
	)
	return all
}

func TestS3Faults(t *testing.T) {
	race.Skip(t, "what is timed there would be another time")
	server := s3test.MinIO(t, false)
	url := "s3://" + server.Bucket(t)
	large := make([]byte, 11<<20)
	rand.NewChaCha8([32]byte{2}).Read(large)
	small := []byte("small")
	direct := openS3(t, url, settings(server))
	const there = "there/large"
	if err := direct.Put(t.Context(), there, write(large)); err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes() {
		t.Run(o.op+" "+o.fault.Op, func(t *testing.T) {
			t.Parallel()
			base := "d/" + strings.ReplaceAll(t.Name(), "#", "_") + "/"
			if err := direct.Put(t.Context(), base+"other", write(small)); err != nil {
				t.Fatal(err)
			}
			set := settings(server)
			// Every other one over https, where what is sent is not signed.
			if (i+i/12)%2 == 0 {
				set.Endpoint = faultproxy.New(t, server.URL, server.Transport(), &o.fault).URL
			} else {
				proxy := faultproxy.NewTLS(t, server.URL, server.Transport(), &o.fault)
				set.Endpoint = proxy.URL
				set.LoadOptions = append(set.LoadOptions, config.WithCustomCABundle(bytes.NewReader(proxy.CA)))
			}
			set.PartSize = 5 << 20
			set.StallTimeout = time.Second
			set.Attempts, set.MaxBackoff = 4, 50*time.Millisecond
			s := openS3(t, url, set)

			read := func(off, n int64, want []byte) error {
				r, err := s.Get(t.Context(), there, off, n)
				if err != nil {
					return err
				}
				defer r.Close()
				b, err := io.ReadAll(r)
				if err == nil && !bytes.Equal(b, want) {
					t.Errorf("read %d bytes that are not the object's", len(b))
				}
				if n, again := r.Read(make([]byte, 1)); err != nil && (n != 0 || again != err) {
					t.Errorf("the read after %v gives %d, %v", err, n, again)
				}
				return err
			}
			begun := time.Now()
			var err error
			var want []byte // of the object base+"new"
			switch o.op {
			case "large":
				want, err = large, s.Put(t.Context(), base+"new", write(large))
			case "small":
				want, err = small, s.Put(t.Context(), base+"new", write(small))
			case "create":
				want, err = small, s.Create(t.Context(), base+"new", small)
			case "get":
				err = read(0, -1, large)
			case "range":
				err = read(3<<20, 7<<20, large[3<<20:10<<20])
			case "stat":
				var got vault.Object
				if got, err = s.Stat(t.Context(), there); err == nil && got.Size != int64(len(large)) {
					t.Errorf("Stat gives %v", got)
				}
			case "list":
				n := 0
				for _, lerr := range s.List(t.Context(), base) {
					err = lerr
					n++
				}
				if err == nil && n != 1 {
					t.Errorf("listed %d objects of 1", n)
				}
			case "delete":
				err = s.Delete(t.Context(), base+"other")
			}
			took := time.Since(begun)
			switch {
			case o.err == "" && err != nil:
				t.Errorf("%v", err)
			case o.err != "" && (err == nil || !strings.Contains(err.Error(), o.err)):
				t.Errorf("got %v; want an error with %q", err, o.err)
			case o.is != nil && !errors.Is(err, o.is):
				t.Errorf("%v is no %v", err, o.is)
			case took > slow:
				t.Errorf("it took %v", took)
			}
			// What is there is whole, and what succeeded is there.
			if want == nil {
				return
			}
			if _, serr := direct.Stat(t.Context(), base+"new"); err != nil && errors.Is(serr, fs.ErrNotExist) {
				return
			}
			got, gerr := io.ReadAll(mustGet(t, direct, base+"new"))
			if gerr != nil || !bytes.Equal(got, want) {
				t.Errorf("the new object: %d bytes, %v", len(got), gerr)
			}
		})
	}
}

func mustGet(t *testing.T, s *s3store.Store, name string) io.Reader {
	t.Helper()
	r, err := s.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
