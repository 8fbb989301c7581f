package serve_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/internal/datasettest"
	"github.com/vaultpack/vaultpack/serve"
	"github.com/vaultpack/vaultpack/serve/s3api"
	"github.com/vaultpack/vaultpack/serve/web"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, b, 0o644))
}

// A stand is a vault, and servers of it.
type stand struct {
	t     testing.TB
	dir   string
	vault *vault.Vault
	store *datasettest.Watched

	options     uploader.Options // of upload
	credentials serve.Credentials
	s3, web     *serve.Endpoint
	end         func() // ends the servers, and waits for them

	mu     sync.Mutex
	failed []string
}

func newStand(t testing.TB) *stand {
	t.Helper()
	dir := t.TempDir()
	v, store := datasettest.NewWatched(t, dir)
	return &stand{t: t, dir: dir, vault: v, store: store, options: uploader.Options{PackSize: 4 << 20}, credentials: serve.NewCredentials()}
}

// upload makes a version of a dataset of what fill writes to its source.
func (s *stand) upload(name string, fill func(src string)) (src string) {
	s.t.Helper()
	src = filepath.Join(s.dir, name)
	must(s.t, os.MkdirAll(src, 0o750))
	fill(src)
	d, err := dataset.Open(s.vault, name)
	must(s.t, err)
	defer d.Close()
	_, err = uploader.Upload(s.t.Context(), d, src, s.options)
	must(s.t, err)
	return src
}

// start serves what is in the vault.
func (s *stand) start(refs ...string) {
	s.t.Helper()
	var o serve.Options
	for _, ref := range refs {
		r, err := dataset.ParseReference(ref)
		must(s.t, err)
		o.Datasets = append(o.Datasets, r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c, err := serve.Open(ctx, s.vault, o)
	must(s.t, err)
	api, err := s3api.New(c, s.credentials, s.fail)
	must(s.t, err)
	pages, err := web.New(c, s.credentials.Token, s.fail)
	must(s.t, err)
	var group sync.WaitGroup
	listen := func(h http.Handler) *serve.Endpoint {
		e, err := serve.Listen(ctx, "127.0.0.1:0", serve.ListenOptions{})
		must(s.t, err)
		group.Go(func() {
			if err := e.Serve(ctx, h); err != nil {
				s.t.Error(err)
			}
		})
		return e
	}
	s.s3, s.web = listen(api), listen(pages)
	s.end = sync.OnceFunc(func() {
		cancel()
		group.Wait()
		must(s.t, c.Close())
	})
	s.t.Cleanup(s.end)
}

func (s *stand) fail(dataset, path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = append(s.failed, dataset+"/"+path+": "+err.Error())
}

// failures returns what was told since the last call.
func (s *stand) failures() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.failed
	s.failed = nil
	return all
}

// client is the AWS SDK, with the server's credentials.
func (s *stand) client() *s3.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	s.t.Cleanup(transport.CloseIdleConnections)
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.s3.URL), Region: s3api.Region, UsePathStyle: true, RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: transport},
		Credentials: credentials.NewStaticCredentialsProvider(s.credentials.AccessKeyID, s.credentials.SecretAccessKey, ""),
	})
}
