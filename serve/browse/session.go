package browse

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

const (
	enterPath  = "/enter/"
	cookieName = "vaultpack-browse"
)

// A session is one browser's. Its cookie goes with requests below a path that nobody can guess: a
// browser sends the cookies of one port to every port of this machine, where other programs, of other users,
// may listen.
type session struct {
	path   string // such as /RANDOM/
	cookie string

	mu    sync.Mutex
	token [sha256.Size]byte // its hash
	used  bool
}

// newSession makes a session, and the token that lets a browser in once.
func newSession() (s *session, token string) {
	token = rand.Text()
	return &session{path: "/" + rand.Text() + "/", cookie: rand.Text() + rand.Text(), token: sha256.Sum256([]byte(token))}, token
}

// same compares without telling by its time where the two differ.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// take reports whether the token is the right one and was not used before. Then it is used.
func (s *session) take(token string) bool {
	sum := sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used || subtle.ConstantTimeCompare(sum[:], s.token[:]) != 1 {
		return false
	}
	s.used = true
	return true
}

// enter gives the browser that has the token the cookie. The page that it answers with leads to the
// session's: after a redirect, a browser that follows a link from another site would not send the cookie.
func (s *session) enter(w http.ResponseWriter, r *http.Request, token string) {
	if r.Method != http.MethodGet || r.Header.Get("Sec-Purpose") != "" || r.Header.Get("Purpose") != "" {
		http.Error(w, "this link is not to be fetched in advance", http.StatusForbidden)
		return
	}
	if !s.take(token) {
		http.Error(w, "This link does not work, or was used before: it works once. For another, end vaultpack browse and start it again.", http.StatusForbidden)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: s.cookie, Path: s.path, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Content-Security-Policy", policyEnter)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\"><title>vaultpack</title>"+
		"<meta http-equiv=\"refresh\" content=\"0; url=%[1]s\"></head><body><a href=\"%[1]s\">Go on</a></body></html>\n", s.path)
}

// admit reports whether a request is of the session, and returns what it asks for.
func (s *session) admit(r *http.Request) (name string, ok bool) {
	first, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	ok = same("/"+first+"/", s.path)
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		ok = false
	}
	cookie, err := r.Cookie(cookieName)
	return name, ok && err == nil && same(cookie.Value, s.cookie)
}
