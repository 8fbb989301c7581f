package web

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/net/webdav"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/serve"
)

// maxFolder is how many entries a folder may have to be listed by WebDAV, whose library
// takes it into memory whole.
const maxFolder = 100_000

var errLarge = errors.New("the folder has more entries than WebDAV can list here (100,000); read it by S3's protocol")

// propfind answers the one request of WebDAV that HTTP does not have. The library does;
// it never sees a request that would write.
func (h *handler) propfind(w http.ResponseWriter, r *http.Request, prefix string) {
	if depth := r.Header.Get("Depth"); depth != "0" && depth != "1" {
		// RFC 4918, section 9.1
		w.Header().Set("Content-Type", "application/xml; charset=utf-8")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `<?xml version="1.0" encoding="utf-8"?><D:error xmlns:D="DAV:"><D:propfind-finite-depth/></D:error>`)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, prefix)
	p, _ := find(name)
	files := &davFiles{h: h}
	if files.prepare(r.Context(), name); files.err != nil {
		h.refuse(w, r, p, files.err)
		return
	}
	answer := &answered{ResponseWriter: w}
	dav := webdav.Handler{Prefix: prefix, FileSystem: files, LockSystem: webdav.NewMemLS(), Logger: func(_ *http.Request, err error) {
		if answer.status < 400 || answer.status >= 500 { // else the request is to blame, and was told so
			files.note(err)
		}
	}}
	dav.ServeHTTP(answer, r)
	if files.err != nil {
		if r.Context().Err() == nil {
			h.failed(p.dataset, p.path, files.err)
		}
		panic(http.ErrAbortHandler) // so that nobody takes what was sent for a whole listing
	}
}

// answered notes the status of a response.
type answered struct {
	http.ResponseWriter
	status int
}

func (a *answered) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// davFiles is a webdav.FileSystem of all that is served, for one request. The library leaves
// out what it cannot read, or ends a listing there, and says nothing to the client: a
// listing of which something is missing would be taken for a whole one, and a client that
// synchronizes would remove files. So each error is noted.
type davFiles struct {
	h      *handler
	folder *davFile // that was listed before
	listed []os.FileInfo
	err    error // the first one
}

// note notes an error, other than that there is no such file.
func (f *davFiles) note(err error) {
	if f.err == nil && err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.err = err
	}
}

// prepare reads the folder of a request before anything is answered.
func (f *davFiles) prepare(ctx context.Context, name string) {
	info, err := f.Stat(ctx, name)
	if err != nil || !info.IsDir() {
		return
	}
	folder := &davFile{ctx: ctx, files: f, name: name, info: info}
	if f.listed, err = folder.Readdir(-1); err == nil {
		f.folder = folder
	}
}

func (f *davFiles) Mkdir(context.Context, string, os.FileMode) error { return fs.ErrPermission }
func (f *davFiles) RemoveAll(context.Context, string) error          { return fs.ErrPermission }
func (f *davFiles) Rename(context.Context, string, string) error     { return fs.ErrPermission }

func (f *davFiles) Stat(ctx context.Context, name string) (_ os.FileInfo, err error) {
	defer func() { f.note(err) }()
	p, err := find(name)
	switch {
	case err != nil:
		return nil, err
	case p.dataset == "":
		return davFolder("/"), nil
	}
	v, release, err := f.h.open(ctx, p)
	if err != nil {
		return nil, asNotExist(err)
	}
	defer release()
	info, err := v.Stat(p.path)
	if err != nil {
		return nil, asNotExist(err)
	}
	of, ok := info.(view.Info)
	if !ok {
		return nil, fs.ErrInvalid
	}
	return davInfo{of, v.Version(), of.Entry()}, nil
}

// asNotExist is the one error that the library tells from others.
func asNotExist(err error) error {
	if errors.Is(err, serve.ErrUnknown) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return fs.ErrNotExist
	}
	return err
}

func (f *davFiles) OpenFile(ctx context.Context, name string, flag int, _ os.FileMode) (webdav.File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND) != 0 {
		return nil, fs.ErrPermission
	}
	info, err := f.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	return &davFile{ctx: ctx, files: f, name: name, info: info}, nil
}

// A davFile is what the library lists; it never reads the contents.
type davFile struct {
	ctx   context.Context
	files *davFiles
	name  string
	info  os.FileInfo
}

func (f *davFile) Close() error                   { return nil }
func (f *davFile) Read([]byte) (int, error)       { return 0, fs.ErrPermission }
func (f *davFile) Write([]byte) (int, error)      { return 0, fs.ErrPermission }
func (f *davFile) Seek(int64, int) (int64, error) { return 0, fs.ErrPermission }
func (f *davFile) Stat() (os.FileInfo, error)     { return f.info, nil }

// Readdir returns all, whatever n is: the library asks for all.
func (f *davFile) Readdir(int) (all []os.FileInfo, err error) {
	if before := f.files.folder; before != nil && f.name == before.name {
		return f.files.listed, nil
	}
	defer func() { f.files.note(err) }()
	p, err := find(f.name)
	switch {
	case err != nil:
		return nil, err
	case p.dataset == "":
		for _, name := range f.files.h.catalog.Names() {
			all = append(all, davFolder(name))
		}
		return all, nil
	}
	v, release, err := f.files.h.open(f.ctx, p)
	if err != nil {
		return nil, asNotExist(err)
	}
	defer release()
	opened, err := v.Open(p.path)
	if err != nil {
		return nil, asNotExist(err)
	}
	defer opened.Close()
	folder, ok := opened.(fs.ReadDirFile)
	if !ok {
		return nil, fs.ErrInvalid
	}
	entries, err := folder.ReadDir(maxFolder + 1)
	switch {
	case err != nil && err != io.EOF:
		return nil, err
	case len(entries) > maxFolder:
		return nil, errLarge
	}
	for _, d := range entries {
		info, ok := d.(view.Info)
		if !ok {
			return nil, fs.ErrInvalid
		}
		e := info.Entry()
		if !e.IsDir() {
			if e, err = serve.Target(v, e); err != nil {
				return nil, err
			}
		}
		if e != nil { // else it is a link that leads to no file
			all = append(all, davInfo{info, v.Version(), e})
		}
	}
	return all, nil
}

// davInfo is a file or folder of a version. A link is the file that it leads to.
type davInfo struct {
	view.Info
	version *dataset.Version
	entry   *tree.Entry
}

func (i davInfo) IsDir() bool        { return i.entry.IsDir() }
func (i davInfo) Size() int64        { return i.entry.Size }
func (i davInfo) ModTime() time.Time { return serve.Modified(i.version, i.entry) }

func (i davInfo) Mode() os.FileMode {
	if i.IsDir() {
		return os.ModeDir | 0o555
	}
	return 0o444
}

// ContentType keeps the library from reading the contents to guess it.
func (i davInfo) ContentType(context.Context) (string, error) { return contentType(i.Name()), nil }

// ETag is that of the contents, as in GET.
func (i davInfo) ETag(context.Context) (string, error) { return serve.ETag(i.version, i.entry), nil }

// A davFolder is what has no entry: the list of datasets, and in it the datasets.
type davFolder string

func (f davFolder) Name() string     { return path.Base(string(f)) }
func (davFolder) Size() int64        { return 0 }
func (davFolder) Mode() os.FileMode  { return os.ModeDir | 0o555 }
func (davFolder) ModTime() time.Time { return time.Time{} }
func (davFolder) IsDir() bool        { return true }
func (davFolder) Sys() any           { return nil }
