// Package browse lets a person look at datasets in a browser: versions, files, pictures, tables, what
// changed and how it is distributed. It only reads.
//
// What a dataset holds is hostile to the browser: names are only ever made text, never markup; what a file is
// follows from its first bytes; a file that is neither a picture nor a sound of a few known types is only
// stored, never shown; and a browser is told to run nothing, and to fetch nothing, that does not come with the
// program. Nothing is to be kept on the browser's disk, and neither URLs nor titles hold names of files.
//
// Who asks must have come in by a link that works once. See [New].
package browse

import (
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/vaultpack/vaultpack/internal/printable"
	"github.com/vaultpack/vaultpack/serve"
)

// A Failed function is told of what could not be read or sent whole. path is empty if it is the
// dataset as a whole.
type Failed func(dataset, path string, err error)

type handler struct {
	catalog *serve.Catalog
	failed  Failed
	session *session
}

// New returns a handler for one browser, and the path of the URL that lets it in. The URL works once: it
// gives the browser a cookie. The handler calls failed, also from several goroutines at one time.
func New(c *serve.Catalog, failed Failed) (h http.Handler, entry string, err error) {
	if c == nil || failed == nil {
		return nil, "", errors.New("browse: a catalog and a function for failures are required")
	}
	s, token := newSession()
	return &handler{catalog: c, failed: failed, session: s}, enterPath + token, nil
}

//go:embed page
var pageFiles embed.FS

// Policies for the content of responses. Only the page itself may run anything.
const (
	policyNothing = "sandbox; default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	policyPage    = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
	// policyEnter has no sandbox, in which a page cannot go on to the next by itself.
	policyEnter = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// headers are those of every response.
var headers = map[string]string{
	"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
	"X-Frame-Options": "DENY", "Content-Security-Policy": policyNothing,
	"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp",
	"Permissions-Policy": "camera=(), geolocation=(), microphone=()", "X-Robots-Tag": "noindex",
}

// routes are what a session may ask for.
var routes = map[string]func(*handler, http.ResponseWriter, *http.Request) error{
	"": page, "app.js": script, "views.js": script, "charts.js": script, "dom.js": script, "style.css": style, "icon.svg": icon,
	"api/datasets": datasets, "api/versions": versions, "api/folder": folder, "api/search": search,
	"api/file": file, "api/stats": stats, "api/diff": diff, "raw": raw,
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	if !isLocal(r.Host) {
		http.Error(w, "this server is not known under that name", http.StatusMisdirectedRequest)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this server only reads", http.StatusMethodNotAllowed)
		return
	}
	if token, ok := strings.CutPrefix(r.URL.Path, enterPath); ok {
		h.session.enter(w, r, token)
		return
	}
	name, ok := h.session.admit(r)
	if !ok {
		http.Error(w, "Open the link that vaultpack browse has printed. It works once; for another, end vaultpack browse and start it again.", http.StatusUnauthorized)
		return
	}
	serve := routes[name]
	if serve == nil {
		h.refuse(w, r, fs.ErrNotExist)
		return
	}
	if err := serve(h, w, r); err != nil {
		h.refuse(w, r, err)
	}
}

// isLocal reports whether a browser that asks for host has been told to ask this machine by an address
// or localhost. A page elsewhere can give this machine a name of its own (DNS rebinding), but not these.
func isLocal(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	switch strings.ToLower(strings.Trim(name, "[]")) {
	case "localhost", "127.0.0.1", "::1":
		return true
	}
	return false
}

// errBadRequest is of a request that the page does not make.
var errBadRequest = errors.New("the request is malformed")

// refuse answers a request that has failed before anything was sent.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, text := http.StatusInternalServerError, printable.Line("%v", err)
	switch {
	case errors.Is(err, errBadRequest):
		status = http.StatusBadRequest
	case errors.Is(err, serve.ErrRange):
		status = http.StatusRequestedRangeNotSatisfiable
	case isAbsent(err):
		status, text = http.StatusNotFound, "there is no such file, folder or version"
	default:
		h.tell(r, err)
	}
	for _, name := range []string{"Content-Disposition", "Accept-Ranges"} {
		w.Header().Del(name)
	}
	sendJSON(w, r, status, struct {
		Error string `json:"error"`
	}{text})
}

func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, serve.ErrUnknown) || errors.Is(err, syscall.ELOOP)
}

// tell tells of what the vault or its data are to blame for.
func (h *handler) tell(r *http.Request, err error) {
	if r.Context().Err() == nil {
		q := r.URL.Query()
		p, _ := decodePath(q.Get("p"))
		h.failed(q.Get("d"), p, err)
	}
}

func sendJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // of this package's own types
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(b) // if the browser is gone, nobody needs to know
	}
}

func page(_ *handler, w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Security-Policy", policyPage)
	return own(w, r, "index.html", "text/html; charset=utf-8")
}

func script(h *handler, w http.ResponseWriter, r *http.Request) error {
	return own(w, r, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:], "text/javascript; charset=utf-8")
}

func style(_ *handler, w http.ResponseWriter, r *http.Request) error {
	return own(w, r, "style.css", "text/css; charset=utf-8")
}

func icon(_ *handler, w http.ResponseWriter, r *http.Request) error {
	return own(w, r, "icon.svg", "image/svg+xml")
}

// own sends a file of the program's.
func own(w http.ResponseWriter, r *http.Request, name, contentType string) error {
	b, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	if r.Method != http.MethodHead {
		w.Write(b) // if the browser is gone, nobody needs to know
	}
	return nil
}
