package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// requests are those that cost something, by the kinds of the bill.
type requests struct{ Puts, Lists, Gets, Deletes, KMSCalls, BytesSent int64 }

// usage reads the usage that a command told.
func usage(t *testing.T, stdout string) requests {
	t.Helper()
	for line := range strings.Lines(stdout) {
		var e struct {
			Event    string
			S3       requests
			KMSCalls int64
		}
		if err := json.Unmarshal([]byte(strings.ReplaceAll(line, "_", "")), &e); err == nil && e.Event == "usage" {
			e.S3.KMSCalls = e.KMSCalls
			return e.S3
		}
	}
	t.Fatalf("no usage was told: %s", stdout)
	return requests{}
}

// The requests that a dry run tells are those that the run makes, as the server
// counts them: for a new dataset, one of many packs, one in which nothing has
// changed or something has, and one whose upload was interrupted.
func TestDryRunTellsTheRequests(t *testing.T) {
	race.Skip(t, "what is counted here does not depend on the race detector, and takes long with it")
	server := s3test.MinIO(t, false)
	c := newCloud(t, server)
	interrupted := &faultproxy.Fault{Op: "PutObject", Path: "/versions/", Times: -1, Do: faultproxy.Refuse(http.StatusForbidden, "AccessDenied")}
	p := faultproxy.New(t, server.URL, http.DefaultTransport)
	denying := faultproxy.New(t, server.URL, http.DefaultTransport, interrupted)
	src := filepath.Join(c.home, "src")
	check(t, os.Mkdir(src, 0o755))
	treetest.Odd(t, src, 6<<20)

	count := func(ops []string) (r requests) {
		for _, op := range ops {
			switch {
			case strings.HasPrefix(op, "List"):
				r.Lists++
			case strings.HasPrefix(op, "Get"), strings.HasPrefix(op, "Head"):
				r.Gets++
			case strings.HasPrefix(op, "Delete"), strings.HasPrefix(op, "Abort"):
				r.Deletes++
			default:
				r.Puts++
			}
		}
		return r
	}
	compare := func(what string, args ...string) {
		t.Helper()
		before := len(c.objects())
		out, _ := c.run(0, append([]string{"push", "--json", "--dry-run"}, args...)...)
		planned := usage(t, out)
		if n := len(c.objects()); n != before {
			t.Errorf("%s: the dry run made %d objects", what, n-before)
		}
		from := len(p.Ops())
		c.kmsCalls()
		out, _ = c.run(0, append([]string{"push", "--json"}, args...)...)
		did, met := usage(t, out), count(p.Ops()[from:])
		met.KMSCalls = int64(len(strings.Fields(c.kmsCalls())))
		sent := did.BytesSent
		// Sizes of compressed lists depend on random names.
		if d := planned.BytesSent - sent; max(d, -d) > 4096+sent/100 {
			t.Errorf("%s: planned to send %d bytes, sent %d", what, planned.BytesSent, sent)
		}
		planned.BytesSent, did.BytesSent = 0, 0
		if planned != did || planned != met {
			t.Errorf("%s:\nplanned %+v\ntold    %+v\nmet     %+v", what, planned, did, met)
		}
		t.Logf("%s: %+v, %d bytes sent", what, met, sent)
	}

	c.through(p.URL)
	compare("a new dataset", src, "-d", "d")
	compare("nothing changed", src, "-d", "d")
	write(t, filepath.Join(src, "names/a.txt"), []byte("another"))
	compare("a small file changed", src, "-d", "d")
	write(t, filepath.Join(src, "large"), bytes.Repeat([]byte("large"), 5<<20))
	compare("a file of many packs", src, "-d", "d", "--pack-size", "6MiB")
	compare("packs smaller than a part", src, "-d", "small", "--pack-size", "1MiB")
	first, second := c.arn, c.newKey()
	c.arn += ", " + second
	c.through(p.URL)
	compare("two KMS keys", src, "-d", "two", "--pack-size", "6MiB")
	c.arn = first

	c.through(denying.URL)
	c.run(exitNotAllowed, "push", src, "-d", "broken", "--pack-size", "6MiB")
	c.through(p.URL)
	write(t, filepath.Join(src, "one more"), []byte("more"))
	compare("an upload that goes on", src, "-d", "broken", "--pack-size", "6MiB")
}

// What a dry run of gc counts, gc removes: also the parts of an upload whose
// client is gone, which S3 bills and does not list.
func TestCollectDryRunOnS3(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	c := newCloud(t, s3test.MinIO(t, false))
	src := filepath.Join(c.home, "src")
	write(t, filepath.Join(src, "a"), []byte("a"))
	c.run(0, "push", "-q", src, "-d", "d")
	loc := c.store().Location()
	key := loc.Prefix + "d/packs/" + strings.Repeat("0", 64) + ".vpk"
	_, err := c.s3.Client(t).CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &loc.Bucket, Key: &key})
	check(t, err)
	check(t, c.store().Create(t.Context(), "d/index/"+strings.Repeat("0", 64)+".vpk", []byte("nobody names this")))

	stdout, _ := c.run(0, "gc", "d", "--grace", "0s", "--dry-run")
	says(t, stdout, "to remove from d: 0 packs, 1 index part, 0 records, 0 keyrings; 17 B", "to abort 1 multipart upload")
	if c.unfinished() != 1 {
		t.Error("the dry run has aborted the upload")
	}
	stdout, _ = c.run(0, "gc", "d", "--grace", "0s")
	says(t, stdout, "removed from d: 0 packs, 1 index part", "aborted  1 multipart upload")
	c.noOrphans("d")
}

// One file of many is read with one part of the index and one range of a pack, and
// rewrapping writes one object; docs/COSTS.md says so.
func TestRequestsOfReaders(t *testing.T) {
	race.Skip(t, "what is counted here does not depend on the race detector, and takes long with it")
	server := s3test.MinIO(t, false)
	c := newCloud(t, server)
	p := faultproxy.New(t, server.URL, http.DefaultTransport)
	src := filepath.Join(c.home, "src")
	for i := range 40_000 { // three parts of the index
		if i%1000 == 0 {
			check(t, os.MkdirAll(filepath.Join(src, fmt.Sprintf("%02d", i/1000)), 0o755))
		}
		check(t, os.WriteFile(filepath.Join(src, fmt.Sprintf("%02d/%05d", i/1000, i)), fmt.Append(nil, i), 0o644))
	}
	c.through(p.URL)
	c.run(0, "push", "-q", src, "-d", "d")
	next := c.newKey()
	for _, r := range []struct {
		args      []string
		ops, kms  string
		wantsFile string
	}{
		{[]string{"cat", "d", "20/20005"}, "ListObjectsV2 GetObject GetObject GetObject GetObject", "Decrypt", "20005"},
		{[]string{"keys", "rewrap", "d", "aws-kms", c.arn, "--new-kms-key", next}, "ListObjectsV2 GetObject GetObject PutObject HeadObject GetObject ListObjectsV2 GetObject", "ReEncrypt Decrypt", ""},
	} {
		from := len(p.Ops())
		c.kmsCalls()
		stdout, _ := c.run(0, r.args...)
		if r.wantsFile != "" && stdout != r.wantsFile {
			t.Errorf("%v: %q", r.args, stdout)
		}
		if got := strings.Join(p.Ops()[from:], " "); got != r.ops {
			t.Errorf("%v asked for %s, want %s", r.args, got, r.ops)
		}
		if got := c.kmsCalls(); got != r.kms {
			t.Errorf("%v asked KMS for %q, want %q", r.args, got, r.kms)
		}
	}
}
