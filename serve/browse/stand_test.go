package browse_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/serve"
	"github.com/vaultpack/vaultpack/serve/browse"
	"github.com/vaultpack/vaultpack/uploader"
	"github.com/vaultpack/vaultpack/vault"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A stand is a vault with a dataset "d", and a browser that is let in to look at it.
type stand struct {
	t      testing.TB
	dir    string
	vault  *vault.Vault
	http   *httptest.Server
	entry  string // the URL that lets in
	at     string // of the session, with a slash
	cookie *http.Cookie

	mu     sync.Mutex
	failed []string
}

func newStand(t testing.TB) *stand {
	t.Helper()
	s := &stand{t: t, dir: t.TempDir()}
	v, _, err := config.Init(t.Context(), &config.Config{Vault: config.Setting{Value: s.dir + "/vault"}, LocalKey: config.Setting{Value: s.dir + "/key"}})
	must(t, err)
	s.vault = v
	return s
}

// push makes a version of files.
func (s *stand) push(message string, files map[string]string) *dataset.Version {
	s.t.Helper()
	src := filepath.Join(s.t.TempDir(), "src")
	must(s.t, os.Mkdir(src, 0o750))
	for name, text := range files {
		name = filepath.Join(src, name)
		must(s.t, os.MkdirAll(filepath.Dir(name), 0o750))
		must(s.t, os.WriteFile(name, []byte(text), 0o600))
	}
	d, err := dataset.Open(s.vault, "d")
	must(s.t, err)
	s.t.Cleanup(d.Close)
	_, err = uploader.Upload(s.t.Context(), d, src, uploader.Options{Message: message, PackSize: 4 << 20})
	must(s.t, err)
	v, err := d.Latest(s.t.Context())
	must(s.t, err)
	return v
}

// start serves, without anybody let in.
func (s *stand) start() {
	s.t.Helper()
	c, err := serve.Open(s.t.Context(), s.vault, serve.Options{})
	must(s.t, err)
	h, entry, err := browse.New(c, func(dataset, path string, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.failed = append(s.failed, dataset+"/"+path+": "+err.Error())
	})
	must(s.t, err)
	s.http = httptest.NewServer(h)
	s.http.Config.ErrorLog = nil
	s.entry = s.http.URL + entry
	s.t.Cleanup(func() {
		s.http.Close()
		must(s.t, c.Close())
	})
}

var refreshTo = regexp.MustCompile(`content="0; url=([^"]+)"`)

// enter starts, and lets the browser in.
func (s *stand) enter() {
	s.t.Helper()
	s.start()
	r, body := s.do(http.MethodGet, s.entry, nil)
	to := refreshTo.FindStringSubmatch(body)
	if r.StatusCode != http.StatusOK || to == nil || len(r.Cookies()) != 1 {
		s.t.Fatalf("%s: %s", r.Status, body)
	}
	s.at, s.cookie = s.http.URL+to[1], r.Cookies()[0]
}

// do makes a request, with the cookie if there is one.
func (s *stand) do(method, url string, change func(*http.Request)) (*http.Response, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, url, nil)
	must(s.t, err)
	if s.cookie != nil {
		r.AddCookie(s.cookie)
	}
	if change != nil {
		change(r)
	}
	resp, err := s.http.Client().Transport.RoundTrip(r)
	must(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		b = append(b, " [broken off]"...)
	}
	return resp, string(b)
}

func id(path string) string { return base64.RawURLEncoding.EncodeToString([]byte(path)) }

// query is what a request asks for: d=d and the names and values.
func query(what string, pairs ...string) string {
	v := url.Values{"d": {"d"}}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return what + "?" + v.Encode()
}

// ask makes a request and reads the answer, which must be a good one.
func (s *stand) ask(answer any, what string, pairs ...string) {
	s.t.Helper()
	r, body := s.do(http.MethodGet, s.at+query(what, pairs...), nil)
	if r.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %q: %s %s", what, pairs, r.Status, body)
	}
	must(s.t, json.Unmarshal([]byte(body), answer))
}

// failures returns what was told.
func (s *stand) failures() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.failed, "\n")
}
