package web

import (
	"bufio"
	"errors"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/printable"
	"github.com/vaultpack/vaultpack/serve"
)

// A row is a line of a page.
type row struct {
	Href template.URL // of escaped names only; empty of what cannot be opened
	Name string
	Size string
	Time string
}

var (
	top = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.}}</title></head>
<body><h1>{{.}}</h1><table cellpadding="4"><tr><th align="left">Name</th><th align="right">Bytes</th><th align="left">Modified</th></tr>
`))
	line = template.Must(template.New("").Parse(`<tr><td>{{if .Href}}<a href="{{.Href}}">{{.Name}}</a>{{else}}{{.Name}}{{end}}</td><td align="right">{{.Size}}</td><td>{{.Time}}</td></tr>
`))
)

const bottom = "</table></body></html>\n"

// readAtOnce is how many entries of a folder are in memory at one time.
const readAtOnce = 1000

// href is a relative reference to a name in the same folder.
func href(name, suffix string) template.URL {
	// The dot keeps a colon in the name from ending a scheme.
	return template.URL("./" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20") + suffix)
}

// A page is sent while it is made.
type page struct {
	w *bufio.Writer
}

func newPage(w http.ResponseWriter, title string) *page {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	p := &page{bufio.NewWriterSize(w, 32<<10)}
	p.execute(top, printable.Line("%s", title))
	return p
}

// execute ends the response if the client is gone.
func (p *page) execute(t *template.Template, data any) {
	if t.Execute(p.w, data) != nil {
		panic(http.ErrAbortHandler)
	}
}

func (p *page) end() {
	p.w.WriteString(bottom)
	if p.w.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
}

// sendDatasets sends the list of datasets.
func (h *handler) sendDatasets(w http.ResponseWriter, r *http.Request) error {
	p := newPage(w, "Datasets")
	if r.Method == http.MethodHead {
		return nil
	}
	for _, name := range h.catalog.Names() {
		p.execute(line, row{Href: href(name, "/"), Name: name + "/"})
	}
	p.end()
	return nil
}

// sendFolder sends a folder as a page. If reading fails midway, it ends the connection.
func (h *handler) sendFolder(w http.ResponseWriter, r *http.Request, v *view.View, at place) error {
	opened, err := v.Open(at.path)
	if err != nil {
		return err
	}
	defer opened.Close()
	folder, ok := opened.(fs.ReadDirFile)
	if !ok {
		return fs.ErrNotExist
	}
	entries, err := folder.ReadDir(readAtOnce)
	if err != nil && err != io.EOF {
		return err
	}
	title := v.Version().Dataset() + ", version " + strconv.FormatInt(v.Version().Number, 10)
	if at.path != "." {
		title += ": " + at.path
	}
	p := newPage(w, title)
	if r.Method == http.MethodHead {
		return nil
	}
	p.execute(line, row{Href: "../", Name: "../"})
	for err == nil {
		for _, e := range entries {
			row, rerr := rowOf(v, e)
			if rerr != nil {
				h.abort(r, at, rerr)
			}
			p.execute(line, row)
		}
		entries, err = folder.ReadDir(readAtOnce)
	}
	if err != io.EOF {
		h.abort(r, at, err)
	}
	p.end()
	return nil
}

// abort ends a response of which a part was sent.
func (h *handler) abort(r *http.Request, p place, err error) {
	if r.Context().Err() == nil {
		h.failed(p.dataset, p.path, err)
	}
	panic(http.ErrAbortHandler)
}

func rowOf(v *view.View, d fs.DirEntry) (row, error) {
	info, ok := d.(view.Info)
	if !ok {
		return row{}, errors.New("an entry of a folder that is none of a version")
	}
	e, name := info.Entry(), printable.Line("%s", d.Name())
	if e.IsDir() {
		return row{Href: href(d.Name(), "/"), Name: name + "/"}, nil
	}
	file, err := serve.Target(v, e)
	switch {
	case err != nil:
		return row{}, err
	case file == nil: // a link to a folder, or out of the version: only told
		return row{Name: name + " → " + printable.Line("%s", e.Link)}, nil
	case e.IsLink():
		name += " → " + printable.Line("%s", e.Link)
	}
	return row{Href: href(d.Name(), ""), Name: name, Size: strconv.FormatInt(file.Size, 10),
		Time: serve.Modified(v.Version(), file).Format("2006-01-02 15:04:05")}, nil
}
