package serve_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/datasettest"
)

// Pages and files are for who has the token, whatever a path looks like; what they hold is
// not run by a browser, and nothing is written.
func TestWeb(t *testing.T) {
	s := newStand(t)
	fill := func(src string) {
		write(t, filepath.Join(src, "a/evil.html"), []byte("<script>alert(1)</script>"))
		write(t, filepath.Join(src, "a/<img src=x onerror=alert(1)>.png"), []byte("image"))
		write(t, filepath.Join(src, "a/\xff\u202e.txt"), []byte("odd"))
		write(t, filepath.Join(src, "a/javascript:alert(1)"), []byte("x"))
		must(t, os.MkdirAll(filepath.Join(src, "b"), 0o755))
		must(t, os.Symlink("../a/evil.html", filepath.Join(src, "b/to-file")))
		must(t, os.Symlink("/etc/passwd", filepath.Join(src, "b/out")))
		must(t, os.Symlink("..", filepath.Join(src, "b/up")))
	}
	s.upload("scans", fill)
	must(t, os.WriteFile(filepath.Join(s.dir, "scans", "new"), []byte("of version 2"), 0o644))
	s.upload("scans", func(string) {})
	s.start()
	with := "/~" + s.credentials.Token
	for _, c := range []struct {
		method, path string
		status       int
		has          string
	}{
		{"GET", with + "/", 200, `href="./scans/"`},
		{"GET", with + "/scans/", 200, "scans, version 2"},
		{"GET", with + "/scans", 301, ""},
		{"GET", with + "/scans/new", 200, "of version 2"},
		{"GET", with + "/scans@1/new", 404, ""},
		{"GET", with + "/scans@1/", 200, "scans, version 1"},
		{"GET", with + "/scans@3/", 404, ""},
		{"GET", with + "/scans@x/", 404, ""},
		{"GET", with + "/scans/a/evil.html", 200, "<script>"},
		{"GET", with + "/scans/a%2fevil.html", 200, "<script>"},
		{"GET", with + "/scans/b/to-file", 200, "<script>"},
		{"GET", with + "/scans/b/up/a/evil.html", 200, "<script>"},
		{"GET", with + "/scans/a/", 200, `href="./javascript%3Aalert%281%29"`},
		{"GET", with + "/scans/a/", 200, `&lt;img src=x onerror=alert(1)&gt;.png`},
		{"GET", with + "/scans/a/%FF%E2%80%AE.txt", 200, "odd"},
		{"GET", with + "/scans/b/", 200, "out → /etc/passwd</td>"},
		{"GET", with + "/scans/b/out", 404, ""},
		{"GET", with + "/scans/a/evil.html/", 404, ""},
		{"GET", with + "/scans/../../../etc/passwd", 404, ""},
		{"GET", with + "/scans/%2e%2e/%2e%2e/etc/passwd", 404, ""},
		{"GET", with + "/scans//a/evil.html", 404, ""},
		{"GET", with + "//scans/new", 404, ""},
		{"GET", with + "/scans/a%00/evil.html", 404, ""},
		{"GET", with + "/other/", 404, ""},
		{"HEAD", with + "/scans/new", 200, ""},
		{"PUT", with + "/scans/new", 405, ""},
		{"DELETE", with + "/scans/new", 405, ""},
		{"MKCOL", with + "/scans/c", 405, ""},
		{"LOCK", with + "/scans/new", 405, ""},
		{"OPTIONS", with + "/scans/", 200, ""},
		{"PROPFIND", with + "/scans/", 207, "<D:collection"},
		{"GET", "/scans/new", 401, ""},
		{"GET", "/~/scans/new", 401, ""},
		{"GET", with + "x/scans/new", 401, ""},
		{"PROPFIND", "/scans/", 401, ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, s.web.URL+c.path, nil)
		must(t, err)
		if c.method == "PROPFIND" {
			r.Header.Set("Depth", "1")
		}
		status, _, body := do(t, r)
		if status != c.status || !strings.Contains(body, c.has) || status >= 400 && (strings.Contains(body, "<script>") || strings.Contains(body, "root:")) {
			t.Errorf("%s %s: %d, want %d and %s:\n%s", c.method, c.path, status, c.status, c.has, body)
		}
	}
	s.checkHeaders(with)
	// Basic authentication, as WebDAV clients have it.
	for password, want := range map[string]int{s.credentials.Token: 207, "": 401, s.credentials.SecretAccessKey: 401} {
		r, err := http.NewRequestWithContext(t.Context(), "PROPFIND", s.web.URL+"/scans/b/", strings.NewReader(`<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>`))
		must(t, err)
		r.SetBasicAuth("anybody", password)
		r.Header.Set("Depth", "1")
		status, _, body := do(t, r)
		if status != want || want == 207 && (!strings.Contains(body, "/scans/b/to-file</D:href>") || strings.Contains(body, "/out<") || strings.Contains(body, "/up")) {
			t.Errorf("%d, want %d: %s", status, want, body)
		}
		r.Header.Set("Depth", "infinity")
		r.Body = io.NopCloser(strings.NewReader(""))
		r.ContentLength = 0
		if status, _, _ := do(t, r); want == 207 && status != http.StatusForbidden {
			t.Errorf("all at once: %d", status)
		}
	}
	// A request that cannot be understood is told so, and is no failure of the vault.
	for _, body := range []string{"no XML", `<?xml version="1.0"?><D:propfind xmlns:D="DAV:">`, `<D:propfind xmlns:D="DAV:"><D:prop>&x;</D:prop></D:propfind>`, `<D:propfind xmlns:D="DAV:"/>`} {
		r, err := http.NewRequestWithContext(t.Context(), "PROPFIND", s.web.URL+with+"/scans/", strings.NewReader(body))
		must(t, err)
		r.Header.Set("Depth", "1")
		if status, _, _ := do(t, r); status != http.StatusBadRequest {
			t.Errorf("%s: %d", body, status)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.web.URL+with+"/scans/new", nil)
	must(t, err)
	r.Host = "attacker.example"
	if status, _, _ := do(t, r); status != http.StatusMisdirectedRequest {
		t.Errorf("under another name: %d", status)
	}
	if told := s.failures(); len(told) > 0 {
		t.Error(told)
	}
}

// A folder of which something cannot be read is an error, and never a listing of less: who
// synchronizes with WebDAV would remove the rest.
func TestNoPartOfAListing(t *testing.T) {
	s := newStand(t)
	s.upload("scans", func(src string) { write(t, filepath.Join(src, "a/1"), []byte("x")) })
	d, err := dataset.Open(s.vault, "many")
	must(t, err)
	defer d.Close()
	datasettest.CommitWith(t, d, func(*envelope.DataKey) (all []*tree.Entry) {
		for i := range 100_001 { // more than are listed
			all = append(all, &tree.Entry{Path: fmt.Sprintf("%06d", i), Mode: 0o644, ModTime: time.Unix(2, 0)})
		}
		return all
	})
	s.start()
	list := func(url string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), "PROPFIND", s.web.URL+url, nil)
		must(t, err)
		r.SetBasicAuth("anybody", s.credentials.Token)
		r.Header.Set("Depth", "1")
		status, _, body := do(t, r)
		return status, body
	}
	broken := errors.New("the network is down")
	for i, spoil := range []func(string, int64, io.ReadCloser) (io.ReadCloser, error){
		func(_ string, _ int64, r io.ReadCloser) (io.ReadCloser, error) { r.Close(); return nil, broken },
		func(_ string, _ int64, r io.ReadCloser) (io.ReadCloser, error) {
			return struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(r, 100), strings.NewReader("changed")), r}, nil
		},
	} {
		s.store.Spoil(spoil)
		for _, url := range []string{"/scans/", "/scans/a/"} {
			if status, body := list(url); status != http.StatusInternalServerError || strings.Contains(body, "multistatus") {
				t.Errorf("%d, %s: %d %s", i, url, status, body)
			}
		}
	}
	s.store.Spoil(nil)
	if status, body := list("/many/"); status != http.StatusInternalServerError || strings.Contains(body, "multistatus") {
		t.Errorf("too many: %d %s", status, body)
	}
	if status, body := list("/many/000007"); status != 207 || !strings.Contains(body, "/many/000007</D:href>") {
		t.Errorf("one of many: %d %s", status, body)
	}
	if status, body := list("/scans/a/"); status != 207 || !strings.Contains(body, "/scans/a/1</D:href>") {
		t.Errorf("%d %s", status, body)
	}
	if told := s.failures(); len(told) != 5 {
		t.Errorf("told: %v", told)
	}
}

// checkHeaders looks at what a browser is told of contents.
func (s *stand) checkHeaders(with string) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for path, disposition := range map[string]string{"/scans/a/evil.html": "attachment", "/scans/b/to-file": "attachment", "/scans/a/%3Cimg%20src=x%20onerror=alert(1)%3E.png": "inline"} {
		r, err := (&http.Client{Transport: transport}).Get(s.web.URL + with + path)
		must(s.t, err)
		r.Body.Close()
		h := r.Header
		if r.StatusCode != 200 || !strings.HasPrefix(h.Get("Content-Disposition"), disposition) || strings.Contains(h.Get("Content-Type"), "html") ||
			!strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox;") || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" ||
			h.Get("Cache-Control") != "no-store" || h.Get("Access-Control-Allow-Origin") != "" || h.Get("Cross-Origin-Resource-Policy") != "same-origin" {
			s.t.Errorf("%s: %d %v", path, r.StatusCode, h)
		}
	}
}
