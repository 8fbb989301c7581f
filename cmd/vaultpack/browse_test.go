package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
)

// browse lets in who opens its link, once, and ends with Ctrl-C.
func TestBrowse(t *testing.T) {
	race.Skip(t, "it is another process")
	p := newPlace(t)
	write(t, filepath.Join(p.home, "scans", "train", "1.txt"), []byte("one"))
	p.run(exitDone, "push", "-q", "./scans")
	s := &servedPlace{place: p, cmd: p.command("browse", "--json", "scans")}
	out, err := s.cmd.StdoutPipe()
	check(t, err)
	s.cmd.Stderr = os.Stderr
	check(t, s.cmd.Start())
	t.Cleanup(func() { s.cmd.Process.Kill() })
	s.events = bufio.NewScanner(out)
	var told struct{ URL string }
	check(t, json.Unmarshal([]byte(s.next("browsing")), &told))
	if !strings.HasPrefix(told.URL, "http://127.0.0.1:") {
		t.Fatal(told.URL)
	}
	defer http.DefaultClient.CloseIdleConnections()
	http.DefaultClient.Jar, err = cookiejar.New(nil)
	check(t, err)
	defer func() { http.DefaultClient.Jar = nil }()
	status, body, err := get(t, told.URL)
	to := regexp.MustCompile(`url=([^"]+)`).FindStringSubmatch(body)
	if status != http.StatusOK || err != nil || to == nil {
		t.Fatalf("%d %v %s", status, err, body)
	}
	page := told.URL[:strings.Index(told.URL, "/enter/")] + to[1]
	if status, body, _ := get(t, page); status != http.StatusOK || !strings.Contains(body, "app.js") {
		t.Errorf("%d %s", status, body)
	}
	if status, body, _ := get(t, page+"api/search?d=scans&q=train"); status != http.StatusOK || !strings.Contains(body, `"name":"train/1.txt"`) {
		t.Errorf("%d %s", status, body)
	}
	if status, _, _ := get(t, told.URL); status != http.StatusForbidden {
		t.Errorf("the link works again: %d", status)
	}
	http.DefaultClient.Jar = nil
	if status, _, _ := get(t, page); status != http.StatusUnauthorized {
		t.Errorf("without the cookie: %d", status)
	}
	if text := s.interrupt(exitDone); !strings.Contains(text, `"failed":0`) {
		t.Error(text)
	}
	for _, args := range [][]string{{"nothing"}, {"scans@9"}, {"--port", "70000"}, {"--port", "-1"}, {"--memory", "1MiB"}, {"-q"}, {"scans", "scans"}} {
		if code, out := p.try(append([]string{"browse"}, args...)...); code != exitFailed && code != exitUsage {
			t.Errorf("%q: %d\n%s", args, code, out)
		}
	}
}
