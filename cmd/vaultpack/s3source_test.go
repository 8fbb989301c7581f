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
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/vaultpack/vaultpack/internal/faultproxy"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// A rawBucket is a bucket with objects to upload, on a server of its own that is reached
// with flags.
type rawBucket struct {
	*place
	server *s3test.Server
	client *s3.Client
	name   string
}

func newRawBucket(t *testing.T, versions bool) *rawBucket {
	t.Helper()
	b := &rawBucket{place: newPlace(t), server: s3test.MinIO(t, false)}
	b.client, b.name = b.server.Client(t), b.server.Bucket(t)
	credentials := filepath.Join(b.home, "credentials")
	write(t, credentials, fmt.Appendf(nil, "[raw]\naws_access_key_id = %s\naws_secret_access_key = %s\n", b.server.AccessKey, b.server.SecretKey))
	b.env = append(b.env, "AWS_SHARED_CREDENTIALS_FILE="+credentials, "AWS_CONFIG_FILE=/dev/null")
	if versions {
		_, err := b.client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &b.name,
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}})
		check(t, err)
	}
	return b
}

func (b *rawBucket) put(key string, data []byte) {
	b.t.Helper()
	_, err := b.client.PutObject(b.t.Context(), &s3.PutObjectInput{Bucket: &b.name, Key: &key, Body: bytes.NewReader(data)})
	check(b.t, err)
}

// flags reach the bucket through a server.
func (b *rawBucket) flags(url string) []string {
	return []string{"--source-endpoint", url, "--source-profile", "raw", "--source-region", b.server.Region}
}

// A bucket is uploaded, again, and by workers of a plan that may not list it: by ETags, and by
// versions. A dry run tells the requests that are made.
func TestBucketAsSource(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	for _, versions := range []bool{false, true} {
		t.Run(fmt.Sprintf("versions=%v", versions), func(t *testing.T) { testBucketAsSource(t, newRawBucket(t, versions)) })
	}
}

func testBucketAsSource(t *testing.T, b *rawBucket) {
	denied := &faultproxy.Fault{Op: "GetObject", Path: "denied", Times: -1, Do: faultproxy.Refuse(http.StatusForbidden, "AccessDenied")}
	slow := &faultproxy.Fault{Op: "GetObject", Path: "large", Times: 2, Do: faultproxy.Refuse(http.StatusServiceUnavailable, "SlowDown")}
	short := &faultproxy.Fault{Op: "GetObject", Path: "middle", Do: faultproxy.Truncate}
	p := faultproxy.New(t, b.server.URL, http.DefaultTransport, denied, slow, short)
	src := "s3://" + b.name + "/raw"
	want := filepath.Join(b.home, "want")
	files := map[string][]byte{"a+b c.txt": []byte("plus"), "ü/ß.bin": []byte("umlaut"), "tab\there": []byte("tab"), "d/large": treetest.Bytes(20<<20, 1),
		"d/middle": treetest.Bytes(5<<20, 2), "empty": nil, "d/100%25.txt": []byte("percent")}
	for name, data := range files {
		b.put("raw/"+name, data)
		write(t, filepath.Join(want, name), data)
	}
	b.put("raw/marker/", nil)
	check(t, os.Mkdir(filepath.Join(want, "marker"), 0o755))
	b.put("rawer/x", []byte("beside it"))
	push := func(code int, args ...string) (stdout, stderr string) {
		t.Helper()
		return b.run(code, append(append([]string{"push", src, "-d", "d", "--pack-size", "16MiB"}, b.flags(p.URL)...), args...)...)
	}
	requests := func(out string) (r requests) {
		t.Helper()
		for line := range strings.Lines(out) {
			var e struct {
				Event    string
				SourceS3 *requests
			}
			if json.Unmarshal([]byte(strings.ReplaceAll(line, "_", "")), &e) == nil && e.Event == "summary" && e.SourceS3 != nil {
				return *e.SourceS3
			}
		}
		t.Fatalf("no requests were told: %s", out)
		return r
	}

	out, _ := push(0, "--dry-run", "--json")
	planned := requests(out)
	out, _ = push(0, "--json")
	if did := requests(out); did.Gets != planned.Gets+3 || did.Lists != planned.Lists { // two were slowed down, one broke off
		t.Errorf("planned %+v, did %+v", planned, did)
	}
	b.run(0, "restore", "d", "out")
	same(t, want, filepath.Join(b.home, "out"))
	from := len(p.Ops())
	stdout, stderr := push(0)
	says(t, stdout, "nothing has changed since version 1", "7 unchanged")
	says(t, stderr, "at "+p.URL, "profile raw")
	if ops := strings.Join(p.Ops()[from:], " "); strings.Contains(ops, "GetObject ") || strings.HasSuffix(ops, "GetObject") {
		t.Errorf("a run without changes asked for %s", ops)
	}

	// What cannot be uploaded is named, and the rest is.
	b.put("raw/denied", []byte("denied"))
	b.put("raw/full/", []byte("in a folder")) // MinIO takes no empty elements, and lists nothing below a file
	_, stderr = push(exitSomeFailed)
	says(t, stderr, "denied", "s3:GetObject", "full/", "its key ends in a slash as that of a folder, but it has 11 bytes")
	_, stderr = b.run(exitFailed, append([]string{"plan", src, "-d", "p", "--shards", "3"}, b.flags(p.URL)...)...)
	says(t, stderr, "its key ends in a slash")
	filters := []string{"--exclude", "denied", "--exclude", "full/"}
	push(0, filters...)

	// A plan, by workers who cannot list.
	out, _ = b.run(0, append(append([]string{"plan", src, "-d", "p", "--shards", "3", "--json"}, b.flags(p.URL)...), filters...)...)
	var made struct{ Plan string }
	for line := range strings.Lines(out) {
		json.Unmarshal([]byte(line), &made)
	}
	from = len(p.Ops())
	for n := range 3 {
		b.run(0, append([]string{"work", made.Plan, "--shard", fmt.Sprint(n)}, b.flags(p.URL)...)...)
	}
	for _, op := range p.Ops()[from:] {
		if op != "GetObject" {
			t.Errorf("a worker asked for %s", op)
		}
	}
	b.run(0, "commit", made.Plan)
	b.run(0, "restore", "p", "planned")
	same(t, want, filepath.Join(b.home, "planned"))

	// What has changed since the plan was made is read as it was planned, or the shard fails.
	out, _ = b.run(0, append(append([]string{"plan", src, "-d", "q", "--shards", "1", "--json"}, b.flags(p.URL)...), filters...)...)
	for line := range strings.Lines(out) {
		json.Unmarshal([]byte(line), &made)
	}
	b.put("raw/empty", []byte("not empty"))
	b.put("raw/tab\there", []byte("TAB"))
	versioned, err := b.client.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: &b.name})
	check(t, err)
	if versioned.Status == types.BucketVersioningStatusEnabled {
		b.run(0, append([]string{"work", made.Plan, "--shard", "0", "--commit"}, b.flags(p.URL)...)...)
		b.run(0, "restore", "q", "old")
		same(t, want, filepath.Join(b.home, "old"))
	} else {
		_, stderr = b.run(exitFailed, append([]string{"work", made.Plan, "--shard", "0"}, b.flags(p.URL)...)...)
		says(t, stderr, "the source has changed since the plan was made", "tab")
	}
	for _, bad := range [][]string{{"push", "./want", "--source-profile", "raw"}, {"push", src, "--links", "follow"}, {"push", src, "--source-pin", "x"}, {"push", "s3://UPPER/x"}} {
		b.run(exitUsage, bad...)
	}
	_, stderr = b.run(exitFailed, append([]string{"push", "s3://" + b.name + "/nothing", "-d", "n"}, b.flags(p.URL)...)...)
	says(t, stderr, "there are no objects below")
}

// same compares the contents of two folders.
func same(t *testing.T, want, got string) {
	t.Helper()
	read := func(dir string) map[string]string {
		out := map[string]string{}
		check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(dir, path)
			if d.IsDir() {
				out[rel] = "folder"
				return nil
			}
			b, err := os.ReadFile(path)
			out[rel] = string(b)
			return err
		}))
		return out
	}
	w, g := read(want), read(got)
	for name := range w {
		if w[name] != g[name] {
			t.Errorf("%q is not the same", name)
		}
	}
	if len(w) != len(g) {
		t.Errorf("there are %d entries, want %d", len(g), len(w))
	}
}
