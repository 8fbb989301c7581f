package view

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
)

var (
	_ fs.FS         = (*View)(nil)
	_ fs.StatFS     = (*View)(nil)
	_ fs.ReadDirFS  = (*View)(nil)
	_ fs.ReadFileFS = (*View)(nil)
	_ fs.ReadLinkFS = (*View)(nil)
)

// lookUp resolves a path that a caller has given.
func (v *View) lookUp(op, name string, last how) (*tree.Entry, error) {
	done, err := v.usable(op, name)
	if err != nil {
		return nil, err
	}
	defer done()
	e, err := v.resolve(name, last)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: v.because(err)}
	}
	return e, nil
}

// Lookup returns the file, link or folder with the given path, as [dataset.Version.Lookup]
// does: links are not followed, and the error for a path that the version does not have wraps
// dataset.ErrNoEntry.
func (v *View) Lookup(name string) (*tree.Entry, error) {
	if v == nil || v.shared == nil {
		return nil, errNoView
	}
	e, err := v.lookUp("lookup", strings.TrimSuffix(name, "/"), asIs)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid), errors.Is(err, syscall.ELOOP):
		return nil, fmt.Errorf("%q in version %d of dataset %q: %w", name, v.version.Number, v.version.Dataset(), dataset.ErrNoEntry)
	case err != nil:
		return nil, err
	}
	return e, nil
}

// Open implements fs.FS. A regular file is a *[File], a folder an fs.ReadDirFile.
func (v *View) Open(name string) (fs.File, error) {
	e, err := v.lookUp("open", name, followed)
	if err != nil {
		return nil, err
	}
	if e.IsDir() {
		return &folder{view: v, name: name, entry: e}, nil
	}
	return &File{view: v, name: name, entry: e}, nil
}

// OpenEntry opens a regular file by its entry, which is of the same version.
func (v *View) OpenEntry(e *tree.Entry) (*File, error) {
	if v == nil || v.shared == nil {
		return nil, errNoView
	}
	if e == nil || !e.IsFile() {
		return nil, &fs.PathError{Op: "open", Path: nameOf(e), Err: fs.ErrInvalid}
	}
	return &File{view: v, name: e.Path, entry: e}, nil
}

func nameOf(e *tree.Entry) string {
	if e == nil {
		return ""
	}
	return e.Name()
}

// Stat implements fs.StatFS.
func (v *View) Stat(name string) (fs.FileInfo, error) { return v.stat("stat", name, followed) }

// Lstat implements fs.ReadLinkFS.
func (v *View) Lstat(name string) (fs.FileInfo, error) { return v.stat("lstat", name, asIs) }

func (v *View) stat(op, name string, last how) (fs.FileInfo, error) {
	e, err := v.lookUp(op, name, last)
	if err != nil {
		return nil, err
	}
	return Info{path.Base(name), e}, nil
}

// ReadLink implements fs.ReadLinkFS.
func (v *View) ReadLink(name string) (string, error) {
	e, err := v.lookUp("readlink", name, asIs)
	if err != nil {
		return "", err
	}
	if !e.IsLink() {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return e.Link, nil
}

// maxReadFile bounds what ReadFile takes into memory, in bytes.
const maxReadFile = 1 << 30

// ReadFile implements fs.ReadFileFS, for files of up to 1 GiB.
func (v *View) ReadFile(name string) ([]byte, error) {
	opened, err := v.Open(name)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	f, ok := opened.(*File)
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errIsFolder}
	}
	if f.Size() > maxReadFile {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("the file is larger than 1 GiB; open it and read it piece by piece")}
	}
	var b bytes.Buffer
	b.Grow(int(f.Size()) + bytes.MinRead)
	if _, err := f.WriteTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// ReadDir implements fs.ReadDirFS. The entries are sorted by name. A folder that was read
// in part, because of an error, is returned with the error.
func (v *View) ReadDir(name string) ([]fs.DirEntry, error) {
	e, err := v.lookUp("readdir", name, followed)
	if err != nil {
		return nil, err
	}
	if !e.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errNotFolder{}}
	}
	var all []fs.DirEntry
	for d, err := range v.children(e.Path, "") {
		if err != nil {
			return all, &fs.PathError{Op: "readdir", Path: name, Err: v.because(err)}
		}
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, nil
}

// children yields what lies directly in the folder of the path, which is empty or ends in a
// slash, from the name after on. The order is that of the index: folders are sorted with
// their slash. What lies deeper is passed over.
func (v *View) children(folder, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for next := folder + after; ; {
			var e *tree.Entry
			for got, err := range v.from(next) {
				if err != nil {
					yield(Info{}, err)
					return
				}
				if !strings.HasPrefix(got.Path, folder) {
					return
				}
				if got.Path == folder {
					continue
				}
				rest := got.Path[len(folder):]
				slash := strings.IndexByte(rest, '/')
				if slash < 0 {
					if !yield(Info{rest, got}, nil) {
						return
					}
					continue
				}
				// A folder, and whatever is in it is skipped. '0' follows '/'.
				e = got
				if slash != len(rest)-1 {
					e = implicit(folder + rest[:slash+1])
				}
				if !yield(Info{rest[:slash], e}, nil) {
					return
				}
				next = folder + rest[:slash] + "0"
				break
			}
			if e == nil {
				return
			}
		}
	}
}

var errIsFolder = errors.New("is a folder")

// Info is what is known of a file, folder or link. It implements fs.FileInfo and
// fs.DirEntry.
type Info struct {
	name  string
	entry *tree.Entry
}

// Name returns the last element of the path.
func (i Info) Name() string { return i.name }

// Size returns the number of bytes in a file, and for a link those of its target.
func (i Info) Size() int64 {
	if i.entry == nil {
		return 0
	}
	return i.entry.Size + int64(len(i.entry.Link))
}

// Mode returns the mode that the file had when the version was made.
func (i Info) Mode() fs.FileMode {
	switch {
	case i.entry == nil:
		return 0
	case i.entry.IsDir():
		return fs.ModeDir | i.entry.Mode
	case i.entry.IsLink():
		return fs.ModeSymlink | 0o777
	}
	return i.entry.Mode
}

// ModTime returns the time that the file had. It is zero for a folder that the version has
// only by its files.
func (i Info) ModTime() (t time.Time) {
	if i.entry != nil {
		t = i.entry.ModTime
	}
	return t
}

// IsDir implements fs.FileInfo.
func (i Info) IsDir() bool { return i.Mode().IsDir() }

// Type implements fs.DirEntry.
func (i Info) Type() fs.FileMode { return i.Mode().Type() }

// Info implements fs.DirEntry.
func (i Info) Info() (fs.FileInfo, error) { return i, nil }

// Sys returns the *[tree.Entry].
func (i Info) Sys() any { return i.entry }

// Entry returns the entry in the index. One of a folder may be made up.
func (i Info) Entry() *tree.Entry { return i.entry }

// String implements fmt.Stringer, as fs.DirEntry does.
func (i Info) String() string { return fs.FormatDirEntry(i) }

// A folder is an open folder.
type folder struct {
	view   *View
	name   string
	entry  *tree.Entry
	closed bool
	after  string // where the next ReadDir begins
	ended  bool
}

func (f *folder) Stat() (fs.FileInfo, error) { return Info{path.Base(f.name), f.entry}, nil }

func (f *folder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.name, Err: errIsFolder}
}

func (f *folder) Close() error {
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}

// ReadDir implements fs.ReadDirFile, in the order of the index.
func (f *folder) ReadDir(n int) (all []fs.DirEntry, err error) {
	bad := func(err error) error { return &fs.PathError{Op: "readdir", Path: f.name, Err: err} }
	if f.closed {
		return nil, bad(fs.ErrClosed)
	}
	done, err := f.view.begin()
	if err != nil {
		return nil, bad(err)
	}
	defer done()
	if f.ended {
		if n > 0 {
			return nil, io.EOF
		}
		return nil, nil
	}
	for d, err := range f.view.children(f.entry.Path, f.after) {
		if err != nil {
			return all, bad(f.view.because(err))
		}
		if n > 0 && len(all) == n {
			return all, nil
		}
		all = append(all, d)
		f.after = behind(strings.TrimPrefix(d.entry.Path, f.entry.Path))
	}
	f.ended = true
	if n > 0 && len(all) == 0 {
		return nil, io.EOF
	}
	return all, nil
}

// behind is the name from which children goes on after one that has this path in its folder.
func behind(name string) string {
	if name, isDir := strings.CutSuffix(name, "/"); isDir {
		return name + "0" // '0' follows '/'
	}
	return name + "\x00"
}
