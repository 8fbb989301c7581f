package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// OpenDir makes a store of the directory, whether or not it is a vault.
func OpenDir(dir string) (Store, error) { return openDir(dir) }

// dirStore keeps objects as files below a directory. It never follows a link
// out of the directory.
type dirStore struct {
	root *os.Root
	path string
}

func openDir(dir string) (*dirStore, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &dirStore{root: root, path: dir}, nil
}

// tmpPrefix begins the names of files being written. Their writer holds a lock
// on them as long as it lives, so that others can tell the leftovers of a
// killed process.
const tmpPrefix = ".tmp-"

// temp makes and locks a new file beside name. The caller closes it.
func (d *dirStore) temp(name string) (*os.File, string, error) {
	for try := 0; ; try++ {
		tmp := path.Join(path.Dir(name), tmpPrefix+rand.Text())
		f, err := d.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil && !errors.Is(err, errors.ErrUnsupported) {
				f.Close()
				return nil, "", fmt.Errorf("locking %s: %w", tmp, err)
			}
			// Between the two, another process may have taken it for a leftover.
			if _, err = d.root.Lstat(tmp); err == nil {
				return f, tmp, nil
			}
			f.Close()
		}
		// The folder is missing, or was removed as an empty one meanwhile.
		if !errors.Is(err, fs.ErrNotExist) || try == 10 {
			return nil, "", err
		}
		if err := d.mkdirAll(path.Dir(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
	}
}

// mkdirAll makes the folder and its parents durable, one after the other.
func (d *dirStore) mkdirAll(dir string) error {
	if dir == "." {
		return nil
	}
	err := d.root.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.mkdirAll(path.Dir(dir)); err == nil {
			err = d.root.Mkdir(dir, 0o755)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.syncDir(path.Dir(dir))
}

// syncDir makes a change to the folder's entries durable.
func (d *dirStore) syncDir(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (d *dirStore) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	return d.commit(ctx, name, write, func(tmp string) error { return d.root.Rename(tmp, name) })
}

func (d *dirStore) Create(ctx context.Context, name string, data []byte) error {
	write := func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
	return d.commit(ctx, name, write, func(tmp string) error {
		// Unlike a rename, a link does not replace what is there.
		if err := d.root.Link(tmp, name); err != nil {
			return err
		}
		return d.root.Remove(tmp)
	})
}

func (d *dirStore) Replace(ctx context.Context, name string, old, data []byte) error {
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// Who replaces the object holds a lock on the file that it is now.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("locking %s: %w", name, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, int64(len(old))+1))
	if err != nil {
		return err
	}
	locked, err := f.Stat()
	if err != nil {
		return err
	}
	if now, err := d.root.Stat(name); err != nil || !os.SameFile(now, locked) || !bytes.Equal(b, old) {
		return fmt.Errorf("%s: %w", name, ErrChanged)
	}
	return d.Put(ctx, name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// commit writes a temporary file, makes it durable and gives it its name.
func (d *dirStore) commit(ctx context.Context, name string, write func(io.Writer) error, publish func(tmp string) error) (err error) {
	f, tmp, err := d.temp(name)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			d.root.Remove(tmp)
		}
	}()
	if err := write(ctxWriter{ctx, f}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := publish(tmp); err != nil {
		return err
	}
	return d.syncDir(path.Dir(name))
}

// ctxWriter stops a write that is under way when the context is cancelled.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

func (w ctxWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

func (d *dirStore) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Without O_NONBLOCK, opening a named pipe in the object's place would block.
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		if err == nil {
			err = &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
		}
		return nil, err
	}
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	var r io.Reader = f
	if n >= 0 {
		r = io.LimitReader(f, n)
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// Link gives an object another name on the same file system. Whoever uses it must
// not write into the file.
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
	info, err := d.root.Stat(name)
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

// list walks one folder. Because "/" sorts after "-" and ".", folders are
// ordered as if their names ended in it.
func (d *dirStore) list(ctx context.Context, dir string, yield func(Object, error) bool) bool {
	f, err := d.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return yield(Object{}, err)
	}
	entries, err := f.ReadDir(-1)
	f.Close()
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
			continue // deleted meanwhile
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
	f, err := d.root.Open(path.Clean("./" + prefix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

func (d *dirStore) Delete(_ context.Context, name string) error {
	err := d.root.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		// Folders are no objects: an empty one is a leftover.
		for dir := path.Dir(name); dir != "." && d.root.Remove(dir) == nil; dir = path.Dir(dir) {
		}
		return nil
	}
	return err
}

// Sweep removes what processes that died left half-written below prefix. What
// a living process is writing is left alone.
func (d *dirStore) Sweep(ctx context.Context, prefix string) error {
	var folders []string
	err := fs.WalkDir(d.root.FS(), path.Clean("./"+prefix), func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // its writer was faster
		}
		if err == nil && e.IsDir() {
			folders = append(folders, name)
		}
		if err != nil || !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), tmpPrefix) {
			return err
		}
		f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			return nil
		}
		return d.Delete(ctx, name)
	})
	// Empty folders are leftovers too, of a process that died before it made a
	// file in them. Others stay: they cannot be removed. The deepest come first.
	for _, name := range slices.Backward(folders) {
		d.root.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
