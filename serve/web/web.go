// Package web lets browsers, WebDAV clients and whatever reads URLs read the versions of
// datasets: /NAME/PATH is a file or folder of the newest version of a dataset,
// /NAME@N/PATH one of version N. Folders are shown as pages. It only reads.
//
// Whoever asks must have the token: as the first element of the path, behind a tilde, or as
// the password of any user (Basic authentication).
//
// The contents of files are hostile: a browser is told to run nothing in them, to fetch
// nothing for them, to believe the type that it is told, and to store what it cannot show
// safely. Nothing is to be kept on its disk.
package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/serve"
)

// A Failed function is told of a file or folder that could not be read or sent whole.
type Failed func(dataset, path string, err error)

type handler struct {
	catalog *serve.Catalog
	token   [sha256.Size]byte // its hash: comparing does not tell how long it is
	failed  Failed
}

// New returns a handler of requests of clients that have the token. It calls failed, also
// from several goroutines at one time, for what the vault or its data are to blame for.
func New(c *serve.Catalog, token string, failed Failed) (http.Handler, error) {
	if c == nil || failed == nil || token == "" {
		return nil, errors.New("web: a catalog, a token and a function for failures are required")
	}
	return &handler{catalog: c, token: sha256.Sum256([]byte(token)), failed: failed}, nil
}

// Path returns what stands before every path in the URLs of who has no other way to show
// the token.
func Path(token string) string { return "/~" + token }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	for name, value := range map[string]string{
		"Server": "vaultpack", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		"Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	} {
		header.Set(name, value)
	}
	prefix, ok := h.admit(r)
	if !ok {
		header.Set("WWW-Authenticate", `Basic realm="vaultpack", charset="UTF-8"`)
		http.Error(w, "open the URL that vaultpack serve has printed, or give the token as password", http.StatusUnauthorized)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		h.get(w, r, strings.TrimPrefix(r.URL.Path, prefix))
	case "PROPFIND":
		h.propfind(w, r, prefix)
	case http.MethodOptions:
		header.Set("DAV", "1")
		header.Set("MS-Author-Via", "DAV")
		header.Set("Allow", allowed)
		w.WriteHeader(http.StatusOK)
	default:
		header.Set("Allow", allowed)
		http.Error(w, "this server only reads", http.StatusMethodNotAllowed)
	}
}

const allowed = "OPTIONS, GET, HEAD, PROPFIND"

// admit reports whether a request has the token, and what of its path it takes.
func (h *handler) admit(r *http.Request) (prefix string, ok bool) {
	if rest, found := strings.CutPrefix(r.URL.Path, "/~"); found {
		token, _, _ := strings.Cut(rest, "/")
		return Path(token), h.is(token)
	}
	_, password, _ := r.BasicAuth()
	return "", h.is(password)
}

func (h *handler) is(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], h.token[:]) == 1
}

// A place is a path of a version, or the list of datasets if it has no dataset.
type place struct {
	dataset string
	number  int64
	path    string // as of fs.FS
	slash   bool   // it had a slash at its end
}

// find splits the path of a URL.
func find(url string) (p place, err error) {
	url = strings.TrimPrefix(url, "/")
	if url == "" {
		return place{path: ".", slash: true}, nil
	}
	ref, rest, slash := strings.Cut(url, "/")
	name, number, numbered := strings.Cut(ref, "@")
	if p.dataset = name; name == "" {
		return p, fs.ErrNotExist
	}
	if numbered {
		if p.number, err = strconv.ParseInt(number, 10, 64); err != nil || p.number < 1 {
			return p, fs.ErrNotExist
		}
	}
	p.path, p.slash = strings.TrimSuffix(rest, "/"), strings.HasSuffix(rest, "/") || slash && rest == ""
	if p.path == "" {
		p.path = "."
	}
	return p, nil
}

// open opens the version of a place.
func (h *handler) open(ctx context.Context, p place) (*view.View, func(), error) {
	return h.catalog.View(ctx, p.dataset, p.number)
}

// get answers GET and HEAD.
func (h *handler) get(w http.ResponseWriter, r *http.Request, url string) {
	p, err := find(url)
	if err == nil {
		err = h.send(w, r, p)
	}
	if err != nil {
		h.refuse(w, r, p, err)
	}
}

// refuse answers a request that has failed before anything was sent.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, p place, err error) {
	for _, name := range []string{"Content-Type", "Content-Disposition", "Etag", "Last-Modified"} {
		if !errors.Is(err, serve.ErrNotModified) {
			w.Header().Del(name)
		}
	}
	switch {
	case errors.Is(err, serve.ErrNotModified):
		w.WriteHeader(http.StatusNotModified)
	case errors.Is(err, serve.ErrPrecondition):
		http.Error(w, err.Error(), http.StatusPreconditionFailed)
	case errors.Is(err, serve.ErrRange):
		http.Error(w, err.Error(), http.StatusRequestedRangeNotSatisfiable)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid), errors.Is(err, serve.ErrUnknown), errors.Is(err, syscall.ELOOP):
		http.Error(w, "there is no such file or folder", http.StatusNotFound)
	default:
		if r.Context().Err() == nil {
			h.failed(p.dataset, p.path, err)
		}
		http.Error(w, "it cannot be read; what vaultpack serve prints says why", http.StatusInternalServerError)
	}
}

// send sends the file or folder at a place.
func (h *handler) send(w http.ResponseWriter, r *http.Request, p place) error {
	if p.dataset == "" {
		return h.sendDatasets(w, r)
	}
	v, release, err := h.open(r.Context(), p)
	if err != nil {
		return err
	}
	defer release()
	info, err := v.Stat(p.path)
	switch {
	case err != nil:
		return err
	case info.IsDir() != p.slash && p.slash:
		return fs.ErrNotExist
	case info.IsDir() != p.slash:
		// Links of the page are relative to it, and so is this one: no path makes it lead to
		// another host.
		_, last := path.Split(r.URL.Path)
		w.Header().Set("Location", string(href(last, "/")))
		w.WriteHeader(http.StatusMovedPermanently)
		return nil
	case info.IsDir():
		return h.sendFolder(w, r, v, p)
	}
	return h.sendFile(w, r, v, p)
}

func (h *handler) sendFile(w http.ResponseWriter, r *http.Request, v *view.View, p place) error {
	f, err := serve.OpenFile(v, p.path)
	if err != nil {
		return err
	}
	tag, modified := serve.ETag(v.Version(), f.Entry()), serve.Modified(v.Version(), f.Entry())
	header := w.Header()
	header.Set("ETag", tag)
	header.Set("Last-Modified", modified.Format(http.TimeFormat))
	header.Set("Accept-Ranges", "bytes")
	if err := serve.Conditions(r.Header, tag, modified); err != nil {
		return err
	}
	portion, err := serve.Range(r.Header, tag, f.Size())
	if err != nil {
		header.Set("Content-Range", "bytes */"+strconv.FormatInt(f.Size(), 10))
		return err
	}
	describe(header, p.path)
	begun, err := serve.Send(w, r, f, portion)
	if err == nil || !begun {
		return err
	}
	if r.Context().Err() == nil {
		h.failed(p.dataset, p.path, err)
	}
	panic(http.ErrAbortHandler)
}
