package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
)

// A served place is one with vaultpack serve under way.
type servedPlace struct {
	*place
	cmd    *exec.Cmd
	events *bufio.Scanner
	at     struct {
		S3, HTTP, Token, Credentials string
		AccessKey                    string `json:"access_key_id"`
		Secret                       string `json:"secret_access_key"`
	}
}

func (p *place) serve(args ...string) *servedPlace {
	p.t.Helper()
	s := &servedPlace{place: p, cmd: p.command(append([]string{"serve", "--json"}, args...)...)}
	out, err := s.cmd.StdoutPipe()
	check(p.t, err)
	s.cmd.Stderr = os.Stderr
	check(p.t, s.cmd.Start())
	p.t.Cleanup(func() { s.cmd.Process.Kill() })
	s.events = bufio.NewScanner(out)
	check(p.t, json.Unmarshal([]byte(s.next("serving")), &s.at))
	return s
}

// next returns the next event, which must be as docs/JSON.md has it.
func (s *servedPlace) next(name string) string {
	s.t.Helper()
	if !s.events.Scan() {
		s.t.Fatalf("there is no event %s", name)
	}
	t, ok := s.t.(*testing.T)
	if !ok {
		s.t.Fatal("not a test")
	}
	events, summaries := documented(t)
	if got, err := checkEvent(events, summaries, s.events.Text()); err != nil || got != name {
		s.t.Fatalf("%s, want the event %s: %v", s.events.Text(), name, err)
	}
	return s.events.Text()
}

// interrupt ends it as Ctrl-C does, and returns its summary.
func (s *servedPlace) interrupt(want int) string {
	s.t.Helper()
	check(s.t, s.cmd.Process.Signal(syscall.SIGINT))
	if want != exitDone {
		s.next("error")
	}
	text := s.next("summary")
	s.cmd.Wait()
	if got := s.cmd.ProcessState.ExitCode(); got != want {
		s.t.Errorf("exit code %d, want %d: %s", got, want, text)
	}
	return text
}

func get(t testing.TB, url string) (status int, body string, err error) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	r, err := http.Get(url)
	check(t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

// serve gives files to who has the credentials, tells of what does not authenticate, and
// ends with Ctrl-C.
func TestServe(t *testing.T) {
	race.Skip(t, "it is another process")
	p := newPlace(t)
	large := strings.Repeat("0123456789abcdef", 300_000)
	write(t, filepath.Join(p.home, "scans", "train", "1.txt"), []byte("one"))
	write(t, filepath.Join(p.home, "scans", "large"), []byte(large))
	p.run(exitDone, "push", "-q", "./scans")
	s := p.serve("--s3", "127.0.0.1:0", "--http", "127.0.0.1:0", "scans@1")
	if status, body, err := get(t, s.at.HTTP+"/~"+s.at.Token+"/scans/train/1.txt"); status != http.StatusOK || body != "one" || err != nil {
		t.Errorf("%d %q %v", status, body, err)
	}
	if status, body, err := get(t, s.at.HTTP+"/scans/train/1.txt"); status != http.StatusUnauthorized || err != nil {
		t.Errorf("without the token: %d %q %v", status, body, err)
	}
	if status, body, err := get(t, s.at.S3+"/scans/train/1.txt"); status != http.StatusForbidden || !strings.Contains(body, "AccessDenied") || err != nil {
		t.Errorf("without a signature: %d %q %v", status, body, err)
	}
	if text := s.interrupt(exitDone); !strings.Contains(text, `"failed":0`) {
		t.Error(text)
	}

	// The same credentials, from a file, over a vault that was changed.
	s = p.serve("--http", "127.0.0.1:0", "--credentials", "keep")
	b, err := os.ReadFile(filepath.Join(p.home, "keep"))
	check(t, err)
	_, token, ok := strings.Cut(strings.TrimSpace(string(b)), "VAULTPACK_SERVE_TOKEN=")
	if !ok || s.at.Token != "" || s.at.AccessKey != "" || s.at.Credentials != "keep" || s.at.S3 != "" {
		t.Errorf("%s: %+v", b, s.at)
	}
	flipPacks(t, p.home)
	status, body, err := get(t, s.at.HTTP+"/~"+token+"/scans/large")
	if status == http.StatusOK && err == nil || len(body) >= len(large) {
		t.Fatalf("of a changed pack, %d bytes are delivered as if they were all: %d", len(body), status)
	}
	if text := s.next("failed"); !strings.Contains(text, "scans/large") || !strings.Contains(text, "authentication") {
		t.Error(text)
	}
	if text := s.interrupt(exitAuthentication); !strings.Contains(text, `"failed":1`) {
		t.Error(text)
	}

	// What would let others in has to be said.
	for _, args := range [][]string{{"--s3", "0.0.0.0:0"}, {"--s3", ":0"}, {"--http", "192.0.2.1:80"}, {"--s3", "nowhere"}, {"--tls-cert", "x"}, {"-q"}, {"--memory", "1MiB"}, {"nothing"}} {
		if code, out := p.try(append([]string{"serve"}, args...)...); code != exitFailed && code != exitUsage {
			t.Errorf("%q: %d\n%s", args, code, out)
		}
	}
	check(t, os.Chmod(filepath.Join(p.home, "keep"), 0o644))
	if code, out := p.try("serve", "--credentials", "keep"); code != exitFailed || !strings.Contains(out, "chmod 600") || strings.Contains(out, token) {
		t.Errorf("%d\n%s", code, out)
	}
}
