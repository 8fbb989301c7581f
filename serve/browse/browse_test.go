package browse_test

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/treetest"
	"github.com/vaultpack/vaultpack/serve/browse"
)

// Who has not come in by the link gets nothing, whatever it asks for; and every response, good or bad, tells the
// browser to keep nothing, to run nothing and to show it nowhere else.
func TestRoutes(t *testing.T) {
	s := newStand(t)
	s.push("", map[string]string{"a.png": "\x89PNG\r\n\x1a\n", "b.html": "<script>alert(1)</script>"})
	s.push("", map[string]string{"b.html": "two"})
	s.enter()
	want := map[string]string{"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
	headers := func(what string, r *http.Response) {
		t.Helper()
		for name, value := range want {
			if got := r.Header.Get(name); got != value {
				t.Errorf("%s: %s: %q, want %q", what, name, got, value)
			}
		}
		policy := r.Header.Get("Content-Security-Policy")
		page := what == "" && r.StatusCode == http.StatusOK
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || !page && !strings.HasPrefix(policy, "sandbox;") ||
			page && !strings.Contains(policy, "script-src 'self';") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: %d: %s", what, r.StatusCode, policy)
		}
		if r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: another origin is allowed", what)
		}
	}
	strangers := map[string]struct {
		status int
		change func(*http.Request)
	}{
		"without a cookie":     {http.StatusUnauthorized, func(r *http.Request) { r.Header.Del("Cookie") }},
		"with a wrong cookie":  {http.StatusUnauthorized, func(r *http.Request) { r.Header.Set("Cookie", s.cookie.Name+"=x") }},
		"from another site":    {http.StatusUnauthorized, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }},
		"from another port":    {http.StatusUnauthorized, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") }},
		"at another path":      {http.StatusUnauthorized, func(r *http.Request) { r.URL.Path = "/x" + r.URL.Path[strings.LastIndex(r.URL.Path, "/"):] }},
		"by another name":      {http.StatusMisdirectedRequest, func(r *http.Request) { r.Host = "vault.example:80" }},
		"by a name with an IP": {http.StatusMisdirectedRequest, func(r *http.Request) { r.Host = "127.0.0.1.example" }},
		"by another IP":        {http.StatusMisdirectedRequest, func(r *http.Request) { r.Host = "192.0.2.1" }},
		"by no known name":     {http.StatusMisdirectedRequest, func(r *http.Request) { r.Host = "a" }},
	}
	for _, route := range append(browse.Routes(), "nothing", "page/app.js") {
		url := s.at + query(route, "p", id("b.html"), "v", "2", "with", "1", "q", "b")
		if strings.HasPrefix(route, "api/folder") || strings.HasPrefix(route, "api/search") || strings.HasPrefix(route, "api/stats") {
			url = s.at + query(route, "q", "b")
		}
		r, _ := s.do(http.MethodGet, url, nil)
		headers(route, r)
		for how, stranger := range strangers {
			r, body := s.do(http.MethodGet, url, stranger.change)
			if r.StatusCode != stranger.status || strings.Contains(body, "b.html") || strings.Contains(body, "{") {
				t.Errorf("%s %s: %s %s", route, how, r.Status, body)
			}
			headers(route+" "+how, r)
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"} {
			r, _ := s.do(method, url, nil)
			if r.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %s", method, route, r.Status)
			}
			headers(route+" "+method, r)
		}
		if r, body := s.do(http.MethodHead, url, nil); body != "" {
			t.Errorf("HEAD %s: %s: %q", route, r.Status, body)
		}
	}
	for _, route := range []string{"nothing", "page/app.js", "api/", "index.html", "../../go.mod"} {
		if r, body := s.do(http.MethodGet, s.at+route, nil); r.StatusCode < 400 {
			t.Errorf("%s: %s %s", route, r.Status, body)
		}
	}
	for _, route := range browse.Routes() {
		at := query(route, "v", "2", "with", "1", "q", "b")
		if route == "raw" || route == "api/file" {
			at = query(route, "p", id("b.html"))
		}
		for _, host := range []string{"", "localhost:1", "[::1]:1", "LOCALHOST"} {
			r, body := s.do(http.MethodGet, s.at+at, func(r *http.Request) {
				if host != "" {
					r.Host = host
				}
				r.Header.Set("Sec-Fetch-Site", "same-origin")
			})
			if r.StatusCode != http.StatusOK {
				t.Errorf("%s: %s %s", route, r.Status, body)
			}
		}
	}
	if got := s.failures(); got != "" {
		t.Errorf("failures: %s", got)
	}
}

// The link works once, and not for who fetches it in advance.
func TestEnter(t *testing.T) {
	s := newStand(t)
	s.push("", map[string]string{"a": "a"})
	s.start()
	if r, _ := s.do(http.MethodGet, s.entry+"x", nil); r.StatusCode != http.StatusForbidden || len(r.Cookies()) > 0 {
		t.Errorf("a wrong token: %s", r.Status)
	}
	for how, change := range map[string]func(*http.Request){
		"HEAD":     func(r *http.Request) { r.Method = http.MethodHead },
		"prefetch": func(r *http.Request) { r.Header.Set("Sec-Purpose", "prefetch;prerender") },
		"rebound":  func(r *http.Request) { r.Host = "vault.example" },
	} {
		if r, _ := s.do(http.MethodGet, s.entry, change); r.StatusCode < 400 || len(r.Cookies()) > 0 {
			t.Errorf("%s: %s", how, r.Status)
		}
	}
	r, body := s.do(http.MethodGet, s.entry, nil)
	if len(r.Cookies()) != 1 {
		t.Fatalf("%s: %s", r.Status, body)
	}
	c, to := r.Cookies()[0], refreshTo.FindStringSubmatch(body)[1]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != to || len(to) < 26 || len(c.Value) < 52 || strings.Contains(s.entry, c.Value) || strings.Contains(s.entry, to) {
		t.Errorf("%v leads to %s", c, to)
	}
	s.cookie = c
	if r, _ := s.do(http.MethodGet, s.entry, nil); r.StatusCode != http.StatusForbidden || len(r.Cookies()) > 0 {
		t.Errorf("a second time: %s", r.Status)
	}
	if r, _ := s.do(http.MethodGet, s.http.URL+to, nil); r.StatusCode != http.StatusOK {
		t.Errorf("the page: %s", r.Status)
	}
}

// Files are sent as what their first bytes say, and everything that is no picture or sound to be stored. Names come
// whole, and are never markup.
func TestHostile(t *testing.T) {
	script := `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>`
	names := map[string][2]string{ // to contents and type
		`<img src=x onerror=alert(1)>.html`: {script, ""},
		`"onload="alert(1).svg`:             {script, ""},
		"picture.png":                       {script, ""},
		"evil\u202egnp.exe":                 {"MZ", ""},
		"line\r\nSet-Cookie: a=b.txt":       {"x", ""},
		"javascript:alert(1)":               {"y", ""},
		"\xff\xfe.html":                     {"<h1>odd", ""},
		"page.html":                         {"\x89PNG\r\n\x1a\n" + script, "image/png"},
		"sound":                             {"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wave"},
		"BM.txt":                            {"BM is how this text begins, and it goes on", ""},
		"pdf.pdf":                           {"%PDF-1.4", ""},
		"empty.png":                         {"", ""},
	}
	files := map[string]string{}
	for name, is := range names {
		files[name] = is[0]
	}
	s := newStand(t)
	s.push("<b>bold</b>", files)
	s.enter()
	var folder struct{ Items []struct{ ID, Name string } }
	s.ask(&folder, "api/folder")
	if len(folder.Items) != len(names) {
		t.Fatalf("%d items, want %d", len(folder.Items), len(names))
	}
	for _, i := range folder.Items {
		if strings.ContainsAny(i.Name, "\u202e\r\n") || strings.Contains(i.Name, "\xff") {
			t.Errorf("%q is shown as it is", i.Name)
		}
	}
	for name, is := range names {
		kind, how := is[1], "inline"
		if kind == "" {
			kind, how = "application/octet-stream", "attachment"
		}
		r, body := s.do(http.MethodGet, s.at+query("raw", "p", id(name)), nil)
		if r.StatusCode != http.StatusOK || body != is[0] || r.Header.Get("Content-Type") != kind || !strings.HasPrefix(r.Header.Get("Content-Disposition"), how+";") || len(r.Cookies()) > 0 {
			t.Errorf("%q: %s %v", name, r.Status, r.Header)
		}
		if r, _ := s.do(http.MethodGet, s.at+query("raw", "p", id(name), "store", "1"), nil); !strings.HasPrefix(r.Header.Get("Content-Disposition"), "attachment;") {
			t.Errorf("%q: %v", name, r.Header)
		}
		if r, body := s.do(http.MethodGet, s.at+query("api/file", "p", id(name)), nil); r.Header.Get("Content-Type") != "application/json" || r.StatusCode != http.StatusOK {
			t.Errorf("%q: %s %s", name, r.Status, body)
		}
	}
	for _, bad := range [][]string{{"p", id("../key")}, {"p", id("/etc/passwd")}, {"p", id("a\x00b")}, {"p", "%"}, {"v", "-1"}, {"v", "9"}, {"v", "x"}, {"d", "../d"}, {"d", "other"}, {"from", "%"}} {
		for _, what := range []string{"raw", "api/file", "api/folder", "api/stats", "api/search"} {
			if r, body := s.do(http.MethodGet, s.at+query(what, append([]string{"q", "x"}, bad...)...), nil); r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusNotFound {
				t.Errorf("%s %q: %s %s", what, bad, r.Status, body)
			}
		}
	}
	if got := s.failures(); got != "" {
		t.Errorf("failures: %s", got)
	}
}

// The page makes no markup of strings, and has nothing from elsewhere.
func TestPage(t *testing.T) {
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc|DOMParser|localStorage|sessionStorage`)
	elsewhere := regexp.MustCompile(`(?:https?:)?//[a-z0-9]+\.[a-z]`)
	inline := regexp.MustCompile(`(?i)<script>|\son[a-z]+=|\sstyle=|<style`)
	n := 0
	must(t, fs.WalkDir(browse.PageFiles, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		b, err := browse.PageFiles.ReadFile(name)
		must(t, err)
		text := strings.ReplaceAll(string(b), "http://www.w3.org/2000/svg", "")
		if found := markup.FindString(text); found != "" {
			t.Errorf("%s has %s", name, found)
		}
		if found := elsewhere.FindString(text); found != "" {
			t.Errorf("%s has %s", name, found)
		}
		if found := inline.FindString(text); strings.HasSuffix(name, ".html") && found != "" {
			t.Errorf("%s has %s, which its policy forbids", name, found)
		}
		return nil
	}))
	if n < 6 {
		t.Errorf("%d files", n)
	}
}

// Of a changed pack nothing is shown that is not authentic, and it is told here and there.
func TestTampered(t *testing.T) {
	large := string(treetest.Bytes(6<<20, 1))
	s := newStand(t)
	s.push("", map[string]string{"small.txt": "a secret", "large": large, "small.png": "\x89PNG\r\n\x1a\n" + large[:1000]})
	s.enter()
	changed := 0
	must(t, filepath.WalkDir(filepath.Join(s.dir, "vault"), func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(name, "/packs/") {
			return err
		}
		b, err := os.ReadFile(name)
		must(t, err)
		b[len(b)-20] ^= 1
		if len(b) > 1<<20 {
			b[len(b)/2] ^= 1
		}
		changed++
		must(t, os.Chmod(name, 0o600))
		return os.WriteFile(name, b, 0o600)
	}))
	if changed < 2 {
		t.Fatalf("%d packs", changed)
	}
	for _, what := range []string{"raw", "api/file"} {
		for _, name := range []string{"small.txt", "small.png"} {
			r, body := s.do(http.MethodGet, s.at+query(what, "p", id(name)), nil)
			if r.StatusCode != http.StatusInternalServerError || !strings.Contains(body, `{"error":`) || !strings.Contains(body, "authentication") || strings.Contains(body, "secret") || strings.Contains(body, "PNG") {
				t.Errorf("%s %s: %s %s", what, name, r.Status, body)
			}
		}
	}
	r, body := s.do(http.MethodGet, s.at+query("raw", "p", id("large")), nil)
	if got, cut := strings.CutSuffix(body, " [broken off]"); r.StatusCode == http.StatusOK && (!cut || !strings.HasPrefix(large, got)) {
		t.Errorf("%s: %d bytes, broken off: %v", r.Status, len(got), cut)
	}
	for _, name := range []string{"d/small.txt", "d/small.png", "d/large"} {
		if got := s.failures(); !strings.Contains(got, name+": ") {
			t.Errorf("%s is not told: %s", name, got)
		}
	}
}
