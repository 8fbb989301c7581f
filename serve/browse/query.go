package browse

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/printable"
)

// Bounds of one response.
const (
	pageSize    = 200             // entries, hits or changes
	scanTime    = 2 * time.Second // then the page asks for the rest
	scanEntries = 100_000
)

// encodePath makes a path, of any bytes, a word of URLs and JSON.
func encodePath(path string) string { return base64.RawURLEncoding.EncodeToString([]byte(path)) }

func decodePath(s string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return "", fmt.Errorf("%w: a path is not in base64", errBadRequest)
	}
	return string(b), nil
}

// A query is what a request names.
type query struct {
	dataset string
	version int64  // 0 for the newest
	path    string // of a file or folder, without a slash at its end; "." for all of the version
	from    string // the path from which a list goes on, or empty
}

func parse(r *http.Request) (q query, err error) {
	values := r.URL.Query()
	q.dataset = values.Get("d")
	if q.version, err = number(values.Get("v")); err != nil {
		return q, err
	}
	if q.path, err = decodePath(values.Get("p")); err != nil {
		return q, err
	}
	if q.from, err = decodePath(values.Get("from")); err != nil {
		return q, err
	}
	if q.path = strings.TrimSuffix(q.path, "/"); q.path == "" {
		q.path = "."
	}
	return q, nil
}

// number parses what is not negative, and is 0 if it is missing.
func number(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %q is not a number", errBadRequest, s)
	}
	return n, nil
}

// open opens the version that a request names.
func (h *handler) open(r *http.Request) (q query, v *view.View, release func(), err error) {
	if q, err = parse(r); err != nil {
		return q, nil, nil, err
	}
	v, release, err = h.catalog.View(r.Context(), q.dataset, q.version)
	return q, v, release, err
}

// An item is an entry as the page gets it.
type item struct {
	ID       string     `json:"id"` // of the path, for requests
	Name     string     `json:"name"`
	Kind     string     `json:"kind"` // file, folder or link
	Size     int64      `json:"size"`
	Modified *time.Time `json:"modified,omitempty"`
	Mode     string     `json:"mode,omitempty"`
	Link     string     `json:"link,omitempty"`
	Flaw     string     `json:"flaw,omitempty"`
	SHA256   string     `json:"sha256,omitempty"`
}

// newItem names an entry by what follows prefix in its path.
func newItem(e *tree.Entry, prefix string) item {
	name := strings.TrimSuffix(e.Path, "/")
	i := item{ID: encodePath(name), Name: text(strings.TrimPrefix(name, prefix)), Kind: "file", Size: e.Size, Mode: e.Mode.String(), Link: text(e.Link), Flaw: string(e.Flaw)}
	switch {
	case e.IsDir():
		i.Kind = "folder"
	case e.IsLink():
		i.Kind = "link"
	}
	if t := e.ModTime; !t.IsZero() && t.Year() >= 1 && t.Year() <= 9999 { // what JSON can hold
		i.Modified = &t
	}
	if e.Sum != nil {
		i.SHA256 = fmt.Sprintf("%x", e.Sum)
	}
	return i
}

// text makes a name safe to show: what does not print, or turns the direction of writing, is escaped.
func text(name string) string { return printable.Line("%s", name) }

// extension returns what follows the last dot of a name, in lower case.
func extension(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if ext == "" || len(ext) > 12 || ext == "."+strings.ToLower(path.Base(name)) || ext == strings.ToLower(path.Base(name)) {
		return ""
	}
	return ext
}
