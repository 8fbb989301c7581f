package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/envelope/awskms"
	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/vault"
	s3store "github.com/vaultpack/vaultpack/vault/s3"
)

// quick makes a cloud give up soon, and send objects of more than 5 MiB in parts.
const quick = `
  part_size: 5242880
  attempts: 4
  max_backoff: 50ms
  stall_timeout: 1s`

// through has the commands reach the S3 server at another endpoint.
func (c *cloud) through(endpoint string) {
	c.configure(c.url, "kms_key: "+c.s3.KMSKey+quick+"\n  endpoint: "+endpoint)
}

// elsewhere is the cloud as another machine reaches it, with a home of its own.
func (c *cloud) elsewhere(t testing.TB) *cloud {
	other := *c
	other.place = newPlace(t)
	other.env = append(other.env, c.env[len(other.env):]...)
	// Both sign as one: who makes the first version is the only signer.
	key, err := os.ReadFile(filepath.Join(c.home, "signing.key"))
	if errors.Is(err, fs.ErrNotExist) {
		check(c.t, config.CreateSigningKey(filepath.Join(c.home, "signing.key")))
		key, err = os.ReadFile(filepath.Join(c.home, "signing.key"))
	}
	check(c.t, err)
	check(c.t, os.WriteFile(filepath.Join(other.home, "signing.key"), key, 0o600))
	return &other
}

// store is the cloud's vault as this process reaches it, past all proxies.
func (c *cloud) store() *s3store.Store {
	c.t.Helper()
	set := s3store.Settings{Endpoint: c.s3.URL, KMSKey: c.s3.KMSKey, LoadOptions: c.s3.Options()}
	if c.s3.KMSKey == "" {
		set.SSE = s3store.SSENone
	}
	s, err := s3store.Open(c.t.Context(), c.url, set)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// open opens a dataset in this process.
func (c *cloud) open(name string) *dataset.Dataset {
	c.t.Helper()
	key, err := awskms.New(c.t.Context(), c.kms.Client(c.s3.Region, "admin"), c.arn)
	if err != nil {
		c.t.Fatal(err)
	}
	d, err := dataset.Open(&vault.Vault{Store: c.store(), Location: c.url, Keys: &vault.Keys{Open: []envelope.KeyWrapper{key}}}, name)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(d.Close)
	return d
}

// objects are the names of all objects in the vault.
func (c *cloud) objects() map[string]bool {
	c.t.Helper()
	names := map[string]bool{}
	for o, err := range c.store().List(c.t.Context(), "") {
		if err != nil {
			c.t.Fatal(err)
		}
		names[o.Name] = true
	}
	return names
}

// unfinished is how many multipart uploads of the bucket are not finished.
func (c *cloud) unfinished() (n int) {
	c.t.Helper()
	client, bucket, ctx := c.s3.Client(c.t), c.store().Location().Bucket, c.t.Context()
	out, err := client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &bucket})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, u := range out.Uploads {
		// MinIO goes on listing uploads whose client died while they were completed.
		_, err := client.ListParts(ctx, &s3.ListPartsInput{Bucket: &bucket, Key: u.Key, UploadId: u.UploadId})
		var gone *smithyhttp.ResponseError
		if errors.As(err, &gone) && gone.HTTPStatusCode() == http.StatusNotFound {
			continue
		}
		if err != nil {
			c.t.Fatal(err)
		}
		n++
	}
	return n
}

// named are the objects that a version names, and itself and the keyrings.
func (c *cloud) named(v *dataset.Version) []string {
	c.t.Helper()
	named, d := map[string]bool{}, v.Dataset()
	add := func(folder string, id envelope.ObjectID, key envelope.KeyID) {
		named[fmt.Sprintf("%s/%s/%s.vpk", d, folder, id)] = true
		named[fmt.Sprintf("%s/keys/%s.json", d, key)] = true
	}
	named[fmt.Sprintf("%s/versions/%010d.vpk", d, v.Number)] = true
	named[fmt.Sprintf("%s/keys/%s.json", d, v.KeyID)] = true
	for _, p := range v.Parts {
		add("index", p.ID, p.KeyID)
	}
	for e, err := range v.Entries(c.t.Context()) {
		if err != nil {
			c.t.Fatal(err)
		}
		for _, x := range e.Extents {
			add("packs", x.Pack.ID, x.Pack.KeyID)
		}
	}
	return slices.Sorted(maps.Keys(named))
}

// noOrphans fails the test if the vault holds an object that no version of its
// one dataset names, if one that is named is missing, or if a multipart upload is
// left. What the versions name is read from them, not asked of gc.
func (c *cloud) noOrphans(name string) {
	c.t.Helper()
	d, ctx := c.open(name), c.t.Context()
	numbers, err := d.Versions(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	named := map[string]bool{}
	for _, n := range numbers {
		v, err := d.Version(ctx, n)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, o := range c.named(v) {
			named[o] = true
		}
	}
	there := c.objects()
	for o := range there {
		if strings.HasPrefix(o, name+"/versions/") && !named[o] { // a number that gc has closed
			r, err := c.store().Get(ctx, o, 0, -1)
			check(c.t, err)
			b, err := io.ReadAll(r)
			check(c.t, errors.Join(err, r.Close()))
			named[o] = strings.Contains(string(b), "vaultpack-closed/1")
		}
		if !named[o] {
			c.t.Errorf("%s is an orphan", o)
		}
	}
	for o := range named {
		if !there[o] {
			c.t.Errorf("%s is missing", o)
		}
	}
	if n := c.unfinished(); n > 0 {
		c.t.Errorf("%d unfinished multipart uploads are left", n)
	}
}

// completes runs the upload to its end, and wants the source to come back, and
// after gc nothing in the vault that it does not take.
func (c *cloud) completes(src, name string, args ...string) summary {
	c.t.Helper()
	s := c.upload(append([]string{src, "-d", name}, args...)...)
	out := filepath.Join(c.home, "out")
	c.run(0, "restore", "-q", name, out)
	treetest.Equal(c.t, src, out)
	c.run(0, "gc", name, "--grace", "0s", "--end-uploads")
	c.noOrphans(name)
	return s
}

// try runs vaultpack to its end, whatever that is.
func (p *place) try(args ...string) (code int, output string) {
	p.t.Helper()
	cmd := p.command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// says fails the test unless the text has all of want.
func says(t testing.TB, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}
