package main

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

type fault = faultproxy.Fault

var (
	refuse = faultproxy.Refuse
	lie    = faultproxy.LieThat
)

// corruptRequest flips a bit of the request's body on its way to the server.
func corruptRequest(x *faultproxy.Exchange) {
	b, err := io.ReadAll(x.Request.Body)
	if err == nil && len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	x.Request.Body = io.NopCloser(bytes.NewReader(b))
	x.Answer(x.Forward())
}

// An uploadFault is what happens to an upload, and how it ends: with the exit
// code 0, or another and a text that says what to do.
type uploadFault struct {
	name   string
	faults []fault
	code   int
	says   []string
}

const commit = "/versions/"

func uploadFaults() []uploadFault {
	var all []uploadFault
	add := func(name string, code int, says []string, faults ...fault) {
		all = append(all, uploadFault{name, faults, code, says})
	}
	// What passes is borne, whatever it hits.
	passing := map[string]faultproxy.Action{
		"500": refuse(500, "InternalError"), "503": refuse(503, "SlowDown"), "reset in the body": faultproxy.ResetRequest,
		"no answer": faultproxy.Silence, "answer lost": faultproxy.LoseAnswer, "500 but done": lie(500, "InternalError"),
		"clock skew": faultproxy.Skewed(time.Hour), "answer truncated": faultproxy.Truncate, "corrupted on the way": corruptRequest,
	}
	// Each of them hits a request with contents. Where a request decides something, it matters
	// whether it was done.
	for name, do := range passing {
		add(name, 0, nil, fault{Op: "UploadPart", Do: do})
	}
	for _, hit := range []fault{{Op: "CompleteMultipartUpload"}, {Op: "PutObject", Path: commit}} {
		for _, name := range []string{"500", "answer lost", "500 but done", "answer truncated"} {
			hit.Do = passing[name]
			add(name, 0, nil, hit)
		}
	}
	for _, hit := range []fault{{Op: "PutObject", Path: "/keys/"}, {Op: "PutObject", Path: "/pending/"}, {Op: "PutObject", Path: "/index/"},
		{Op: "PutObject", Path: "/packs/"}, {Op: "CreateMultipartUpload"}, {Op: "HeadObject"}, {Op: "ListObjectsV2"},
		{Op: "ListMultipartUploads"}, {Op: "DeleteObject"}} {
		hit.Do = faultproxy.LoseAnswer
		add("answer lost", 0, nil, hit)
	}
	add("failing late", 0, nil, fault{Op: "CompleteMultipartUpload", Do: refuse(200, "InternalError")})
	add("failing late but done", 0, nil, fault{Op: "CompleteMultipartUpload", Do: lie(200, "InternalError")})
	add("conflict", 0, nil, fault{Op: "PutObject", Path: commit, Times: 2, Do: refuse(409, "ConditionalRequestConflict")})
	// Each answer says that it failed, and each time it was done.
	add("for ever, but done", 0, nil, fault{Op: "CompleteMultipartUpload", Times: -1, Do: lie(500, "InternalError")})
	add("for ever, but done", 0, nil, fault{Op: "PutObject", Path: commit, Times: -1, Do: lie(500, "InternalError")})

	// What stays ends the upload.
	fails, busy := []string{"the server fails", "try again later"}, []string{"the server is overloaded", "try again later, or with less concurrency"}
	for _, hit := range []fault{{Op: "UploadPart", First: 2}, {Op: "CompleteMultipartUpload", First: 2}, {Op: "PutObject", Path: commit},
		{Op: "PutObject", Path: "/keys/"}, {Op: "PutObject", Path: "/pending/"}, {Op: "PutObject", Path: "/index/"}, {Op: "ListObjectsV2", First: 2}} {
		hit.Times, hit.Do = -1, refuse(500, "InternalError")
		add("500 for ever", exitFailed, fails, hit)
	}
	add("503 for ever", exitFailed, busy, fault{Op: "UploadPart", First: 2, Times: -1, Do: refuse(503, "SlowDown")})
	add("503 for ever", exitFailed, busy, fault{Op: "PutObject", Path: commit, Times: -1, Do: refuse(503, "SlowDown")})
	goesOn := []string{"check the network and the endpoint", "then run the same command again"}
	add("no answer for ever", exitFailed, goesOn, fault{Op: "UploadPart", Times: -1, Do: faultproxy.Silence})
	add("reset for ever", exitFailed, goesOn, fault{Op: "UploadPart", Times: -1, Do: faultproxy.ResetRequest})
	// The version is there, and nothing can be heard of it.
	add("done, and the server falls silent", exitFailed, fails,
		fault{Op: "PutObject", Path: commit, Times: -1, Do: lie(500, "InternalError")},
		fault{Op: "GetObject", Path: commit, Times: -1, Do: refuse(500, "InternalError")})
	add("another writer", exitFailed, []string{"another writer changed the dataset", "run the same command again"},
		fault{Op: "PutObject", Path: commit, Do: refuse(412, "PreconditionFailed")})
	expired := []string{"the AWS credentials have expired", "then run the same command again"}
	add("credentials expire", exitNotAllowed, expired, fault{Op: "UploadPart", First: 2, Times: -1, Do: refuse(400, "ExpiredToken")})
	add("credentials expire", exitNotAllowed, expired, fault{Op: "PutObject", Path: commit, Times: -1, Do: refuse(400, "ExpiredToken")})
	add("not allowed", exitNotAllowed, []string{"not allowed", "s3:PutObject", "kms:GenerateDataKey on my-key"},
		fault{Op: "PutObject", Path: "/packs/", Times: -1, Do: refuse(403, "AccessDenied")})
	add("corrupted for ever", exitFailed, []string{"reached the server damaged", "or https"},
		fault{Op: "PutObject", Path: "/packs/", Times: -1, Do: corruptRequest})
	add("the clock stays wrong", exitFailed, []string{"the clock of this machine", "then try again"},
		fault{Op: "PutObject", Path: commit, Times: -1, Do: faultproxy.Skewed(0)})
	return all
}

// Whatever happens between an upload and the server, it completes or says what to
// do, and the same command completes it then.
func TestUploadFaults(t *testing.T) {
	race.Skip(t, "what is timed there would be another time")
	server := s3test.MinIO(t, false)
	src := t.TempDir()
	write(t, filepath.Join(src, "large"), treetest.Bytes(11<<20, 1)) // two pieces of two parts each
	for i := range 40 {
		write(t, filepath.Join(src, fmt.Sprintf("small/%02d", i)), treetest.Bytes(int64(i)*500, 2))
	}
	for _, f := range uploadFaults() {
		t.Run(f.name+" "+f.faults[0].Op+f.faults[0].Path, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t, server)
			var faults []*fault
			for i := range f.faults {
				faults = append(faults, &f.faults[i])
			}
			c.through(faultproxy.New(t, server.URL, server.Transport(), faults...).URL)
			args := []string{"--pack-size", "6MiB"}
			began := time.Now()
			code, output := c.try(append([]string{"push", src, "-d", "d"}, args...)...)
			if took := time.Since(began); took > time.Minute {
				t.Errorf("it took %v", took)
			}
			if code != f.code {
				t.Fatalf("exit code %d, want %d\n%s", code, f.code, output)
			}
			says(t, output, f.says...)
			c.through(server.URL)
			s := c.completes(src, "d", args...)
			if code == 0 && s.Committed || s.Version != 1 {
				t.Errorf("the next run: %+v", s)
			}
		})
	}
}

// A restore or a verification that something happens to ends well, or says what
// is wrong, and never gives wrong bytes; afterwards the same restore is whole.
func TestReadFaults(t *testing.T) {
	race.Skip(t, "what is timed there would be another time")
	server := s3test.MinIO(t, false)
	c := newCloud(t, server)
	src := filepath.Join(c.home, "src")
	write(t, filepath.Join(src, "large"), treetest.Bytes(11<<20, 1))
	for i := range 40 {
		write(t, filepath.Join(src, fmt.Sprintf("small/%02d", i)), treetest.Bytes(int64(i)*500, 2))
	}
	c.upload(src, "-d", "d", "--pack-size", "6MiB")

	type readFault struct {
		name  string
		fault fault
		codes []int // that it may end with
		says  []string
	}
	damaged := []int{exitFailed, exitAuthentication, exitSomeFailed}
	var all []readFault
	// Everything happens to packs, and what differs by the object to each of the others.
	for _, path := range []string{"/keys/", commit, "/index/", "/packs/"} {
		for name, do := range map[string]faultproxy.Action{"500": refuse(500, "InternalError"), "503": refuse(503, "SlowDown"),
			"reset": faultproxy.ResetResponse, "truncated": faultproxy.Truncate, "no answer": faultproxy.Silence, "stalled": faultproxy.Stall,
			"clock skew": faultproxy.Skewed(time.Hour)} {
			if path == "/packs/" || name == "500" || name == "truncated" {
				all = append(all, readFault{name, fault{Op: "GetObject", Path: path, Do: do}, []int{0}, nil})
			}
		}
		for _, stays := range []readFault{
			{"500 for ever", fault{Do: refuse(500, "InternalError")}, []int{exitFailed, exitSomeFailed}, []string{"the server fails", "try again later"}},
			{"no answer for ever", fault{Do: faultproxy.Silence}, []int{exitFailed, exitSomeFailed}, []string{"timeout"}},
			{"reset for ever", fault{Do: faultproxy.ResetRequest}, []int{exitFailed, exitSomeFailed}, []string{"s3://"}},
			// Half of what is missing comes each time.
			{"truncated for ever", fault{Do: faultproxy.Truncate}, []int{0, exitFailed, exitSomeFailed}, []string{"unexpected EOF"}},
			{"reset in the body for ever", fault{Do: faultproxy.ResetResponse}, []int{0, exitFailed, exitSomeFailed}, []string{"connection"}},
			{"credentials expire", fault{Do: refuse(400, "ExpiredToken")}, []int{exitNotAllowed}, []string{"the AWS credentials have expired"}},
			{"corrupted for ever", fault{Do: faultproxy.Corrupt}, damaged, nil},
		} {
			stays.fault.Op, stays.fault.Path, stays.fault.Times = "GetObject", path, -1
			if path == "/packs/" || stays.name == "500 for ever" || stays.name == "truncated for ever" || stays.name == "corrupted for ever" {
				all = append(all, stays)
			}
		}
		all = append(all, readFault{"corrupted once", fault{Op: "GetObject", Path: path, Do: faultproxy.Corrupt}, append(damaged, 0), nil})
	}
	all = append(all, readFault{"500", fault{Op: "ListObjectsV2", Do: refuse(500, "InternalError")}, []int{0}, nil},
		readFault{"truncated", fault{Op: "ListObjectsV2", Do: faultproxy.Truncate}, []int{0}, nil},
		readFault{"500 for ever", fault{Op: "ListObjectsV2", Times: -1, Do: refuse(500, "InternalError")}, []int{exitFailed}, []string{"the server fails"}})

	for _, f := range all {
		t.Run(f.name+" "+f.fault.Op+f.fault.Path, func(t *testing.T) {
			t.Parallel()
			for _, command := range []string{"restore", "verify"} {
				c, f := c.elsewhere(t), f
				c.through(faultproxy.New(t, server.URL, server.Transport(), &f.fault).URL)
				out := filepath.Join(c.home, "out")
				args := []string{command, "d"}
				if command == "restore" {
					args = append(args, out)
				}
				code, output := c.try(args...)
				if !slices.Contains(f.codes, code) {
					t.Fatalf("%s: exit code %d, want one of %v\n%s", command, code, f.codes, output)
				}
				if code != 0 {
					says(t, output, f.says...)
					if f.says == nil && !strings.Contains(output, "did not arrive as it was stored") && !strings.Contains(output, "authentica") {
						t.Errorf("%s says: %s", command, output)
					}
				}
				if command == "verify" {
					continue
				}
				nothingWrong(t, src, out)
				if code != 0 {
					c.through(server.URL)
					c.run(0, "restore", "d", out)
				}
				treetest.Equal(t, src, out)
			}
		})
	}
}
