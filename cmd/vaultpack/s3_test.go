package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/vaultpack/vaultpack/envelope/awskms/kmstest"
	"github.com/vaultpack/vaultpack/internal/race"
	"github.com/vaultpack/vaultpack/internal/s3test"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// A cloud is an S3 server and a KMS for commands that run as processes.
type cloud struct {
	*place
	s3  *s3test.Server
	kms *kmstest.Server
	arn string // of a KMS key
	url string // of the vault
}

// newCloud makes a bucket in the server, and a KMS with one key, and configures
// both for the place.
func newCloud(t testing.TB, server *s3test.Server) *cloud {
	t.Helper()
	c := &cloud{place: newPlace(t), s3: server, kms: kmstest.NewServer()}
	h := httptest.NewServer(c.kms)
	t.Cleanup(h.Close)
	c.arn = c.newKey()
	c.env = append(c.env, "AWS_REGION="+server.Region, "AWS_ACCESS_KEY_ID="+server.AccessKey, "AWS_SECRET_ACCESS_KEY="+server.SecretKey,
		"AWS_ENDPOINT_URL_S3="+server.URL, "AWS_ENDPOINT_URL_KMS="+h.URL, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	if server.CA != nil {
		file := filepath.Join(c.home, "ca.pem")
		write(t, file, server.CA)
		c.env = append(c.env, "AWS_CA_BUNDLE="+file)
	}
	sse := "kms_key: " + server.KMSKey
	if server.KMSKey == "" {
		sse = "sse: none"
	}
	c.url = "s3://" + server.Bucket(t) + "/data"
	c.configure(c.url, sse)
	return c
}

func (c *cloud) configure(url, s3 string) {
	write(c.t, filepath.Join(c.home, "vaultpack.yaml"), fmt.Appendf(nil, "vault: %s\nkms_keys: [%s]\ns3:\n  %s\n", url, c.arn, s3))
}

func (c *cloud) newKey() string {
	c.t.Helper()
	out, err := c.kms.Client(c.s3.Region, "admin").CreateKey(c.t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		c.t.Fatal(err)
	}
	return *out.KeyMetadata.Arn
}

// kmsCalls are the operations that were asked for since the last time.
func (c *cloud) kmsCalls() string {
	var ops []string
	for _, call := range c.kms.Calls() {
		ops = append(ops, call.Operation)
	}
	c.kms.ResetCalls()
	return strings.Join(ops, " ")
}

// The whole path on S3 and KMS: every awkward file comes back, one KMS call
// writes a dataset and one reads it.
func TestCloud(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	t.Parallel()
	for name, start := range map[string]func(testing.TB, bool) *s3test.Server{"MinIO": s3test.MinIO, "versitygw": s3test.Versity} {
		for _, https := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s https=%v", name, https), func(t *testing.T) { testCloud(t, newCloud(t, start(t, https))) })
		}
	}
}

func testCloud(t *testing.T, c *cloud) {
	c.place.t = t
	src, out := filepath.Join(c.home, "src"), filepath.Join(c.home, "out")
	check(t, os.Mkdir(src, 0o755))
	treetest.Odd(t, src, 6<<20)
	treetest.NoSetID(t, src)
	c.kmsCalls()

	s := c.upload(src, "-d", "d", "--pack-size", "6MiB")
	if got := c.kmsCalls(); got != "GenerateDataKey" || s.Version != 1 {
		t.Errorf("an upload of version %d took the calls %q", s.Version, got)
	}
	stdout, _ := c.run(0, "restore", "d", out)
	if !strings.Contains(stdout, "1 call to KMS") {
		t.Error(stdout)
	}
	treetest.Equal(t, src, out)
	if got := c.kmsCalls(); got != "Decrypt" {
		t.Errorf("a restore took the calls %q", got)
	}
	c.run(0, "verify", "d", "--against", src)

	// What changes is sent again, what does not is not.
	write(t, filepath.Join(src, "names/a.txt"), []byte("another"))
	if s := c.upload(src, "-d", "d", "--pack-size", "6MiB"); s.Version != 2 || s.Packs != 1 {
		t.Errorf("second version: %+v", s)
	}
	if s := c.upload(src, "-d", "d", "--pack-size", "6MiB"); s.Committed || s.SentFiles != 0 {
		t.Errorf("third run: %+v", s)
	}
	c.run(0, "restore", "d", out)
	treetest.Equal(t, src, out)
	if stdout, _ := c.run(0, "cat", "d", "names/a.txt"); stdout != "another" {
		t.Errorf("cat: %q", stdout)
	}

	// Rewrapping is one call, and one write; the old key is not needed any more.
	old := c.arn
	next := c.newKey()
	c.kmsCalls()
	c.run(0, "keys", "rewrap", "d", "aws-kms", old, "--new-kms-key", next)
	if got := c.kmsCalls(); got != "ReEncrypt Decrypt" {
		t.Errorf("rewrapping took the calls %q", got)
	}
	_, stderr := c.run(exitAuthentication, "verify", "d")
	if !strings.Contains(stderr, "it is wrapped for: aws-kms "+next) {
		t.Error(stderr)
	}
	c.run(0, "verify", "d", "--kms-key", next)
	c.run(0, "keys", "rotate", "d", "--kms-key", next)
	write(t, filepath.Join(src, "names/a.txt"), []byte("a third"))
	c.run(0, "push", src, "-d", "d", "--pack-size", "6MiB", "--kms-key", next)
	c.run(0, "verify", "d@1", "--kms-key", next)
	c.run(0, "verify", "d", "--kms-key", next, "--against", src)
	c.run(0, "gc", "d", "--grace", "0s", "--kms-key", next)
	c.run(0, "verify", "d@2", "--kms-key", next)

	// A key that is disabled, and one that may not be used, are told apart.
	check(t, c.kms.SetKeyState(next, "Disabled"))
	_, stderr = c.run(exitFailed, "verify", "d", "--kms-key", next)
	if !strings.Contains(strings.ToLower(stderr), "disabled") || !strings.Contains(stderr, next) {
		t.Error(stderr)
	}
	check(t, c.kms.SetKeyState(next, "Enabled"))
	c.run(0, "keys", "shred", "d", "--confirm", "d", "--kms-key", next)
	c.run(exitAuthentication, "verify", "d", "--kms-key", next)
	c.run(0, "rm", "d", "--confirm", "d", "--kms-key", next)
	if stdout, _ := c.run(0, "ls"); stdout != "" {
		t.Errorf("after rm: %q", stdout)
	}
}

// A server that ignores the demand for encryption gets nothing.
func TestCloudFailsClosed(t *testing.T) {
	race.Skip(t, "it runs one command after the other")
	c := newCloud(t, s3test.Versity(t, false))
	src := filepath.Join(c.home, "src")
	write(t, filepath.Join(src, "a"), []byte("a"))
	c.configure(c.url, "kms_key: arn:aws:kms:us-east-1:111122223333:key/mine")
	_, stderr := c.run(exitFailed, "push", src)
	if !strings.Contains(stderr, "no server-side encryption instead of SSE-KMS") || !strings.Contains(stderr, "deleted again") {
		t.Error(stderr)
	}
	c.run(0, "push", src, "--sse", "none")
	c.run(0, "verify", "src", "--sse", "none", "--against", src)
}
