package vault

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/internal/atomicfile"
	"github.com/vaultpack/vaultpack/internal/fsys"
)

// OpenDir returns a store in the directory, which need not be a vault.
func OpenDir(dir string) (Store, error) { return openDir(dir) }

// dirStore keeps objects as files below a directory. It never follows a link
// out of the directory.
type dirStore struct {
	root  *os.Root
	path  string
	files *atomicfile.Folder
}

func openDir(dir string) (*dirStore, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &dirStore{root, dir, &atomicfile.Folder{Root: root, Prefix: tmpPrefix}}, nil
}

var (
	_ Sweeper       = (*dirStore)(nil)
	_ VersionKeeper = (*dirStore)(nil)
	_ Buffered      = (*dirStore)(nil)
	_ Linker        = (*dirStore)(nil)
	_ Prober        = (*dirStore)(nil)
)

// tmpPrefix begins the names of files being written, and of claims to a name. They are
// not objects.
const tmpPrefix = ".tmp-"

func (d *dirStore) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	return d.files.Put(ctx, name, 0o644, write)
}

func (d *dirStore) Create(ctx context.Context, name string, data []byte) error {
	return d.files.Create(ctx, name, 0o644, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

func (d *dirStore) Replace(ctx context.Context, name string, old, data []byte) error {
	return d.files.Replace(ctx, name, 0o644, old, data)
}

func (d *dirStore) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := fsys.Again(func() (*os.File, error) { return fsys.OpenRegular(d.root, name, 0) })
	if err != nil {
		return nil, err
	}
	if off < 0 {
		f.Close()
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	if n < 0 || n > math.MaxInt64-off {
		n = math.MaxInt64 - off
	}
	// It is seekable, so that a caller need not read what it does not want.
	return struct {
		io.ReadSeeker
		io.Closer
	}{io.NewSectionReader(f, off, n), f}, nil
}

// Link gives an object another name in the same file system. The caller must not write to
// the file.
func (d *dirStore) Link(name, file string) error {
	info, err := d.root.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &fs.PathError{Op: "link", Path: name, Err: errors.New("not a regular file")}
	}
	return os.Link(filepath.Join(d.path, name), file)
}

func (d *dirStore) Stat(_ context.Context, name string) (Object, error) {
	info, err := fsys.Again(func() (fs.FileInfo, error) { return d.root.Stat(name) })
	if err != nil {
		return Object{}, err
	}
	return Object{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil
}

func (d *dirStore) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		d.list(ctx, path.Clean("./"+prefix), yield)
	}
}

// list walks one folder. Because "/" sorts after "-" and ".", folders are ordered as if
// their names ended in "/".
func (d *dirStore) list(ctx context.Context, dir string, yield func(Object, error) bool) bool {
	entries, err := d.readDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return yield(Object{}, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return yield(Object{}, err)
		}
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			if !d.list(ctx, name, yield) {
				return false
			}
			continue
		}
		if strings.HasPrefix(e.Name(), tmpPrefix) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted in the meantime
		}
		if err != nil {
			return yield(Object{}, err)
		}
		if !yield(Object{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil) {
			return false
		}
	}
	return true
}

func (d *dirStore) Folders(ctx context.Context, prefix string) ([]string, error) {
	entries, err := d.readDir(path.Clean("./" + prefix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (d *dirStore) readDir(dir string) ([]fs.DirEntry, error) {
	return fsys.Again(func() ([]fs.DirEntry, error) {
		f, err := d.root.Open(dir)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return f.ReadDir(-1)
	})
}

func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

func (d *dirStore) Delete(_ context.Context, name string) error {
	_, err := fsys.Again(func() (struct{}, error) { return struct{}{}, d.root.Remove(name) })
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		// Folders are not objects: an empty one is a leftover.
		for dir := path.Dir(name); dir != "." && d.root.Remove(dir) == nil; dir = path.Dir(dir) {
		}
		return nil
	}
	return err
}

// Sweep removes half-written files of dead processes below prefix. It does not touch
// files that a live process is writing.
func (d *dirStore) Sweep(ctx context.Context, prefix string) error {
	return d.files.Sweep(ctx, path.Clean("./"+prefix))
}

// CountOld returns 0: a directory keeps no old versions.
func (d *dirStore) CountOld(ctx context.Context, prefix string) (int, error) { return 0, ctx.Err() }

// DeleteOld has nothing to delete.
func (d *dirStore) DeleteOld(ctx context.Context, prefix string) (int, error) { return 0, ctx.Err() }

// PutMemory returns 0: what is written goes straight to the file.
func (d *dirStore) PutMemory() int64 { return 0 }
