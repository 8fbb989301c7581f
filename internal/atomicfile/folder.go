package atomicfile

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/internal/fsys"
)

// A Folder is a tree of files that are written atomically. It is safe for concurrent
// use, including by several processes and by machines that share it.
type Folder struct {
	Root  *os.Root
	Calls fsys.Calls
	// Prefix begins the names of files being written. The writer's name follows, and
	// the writer holds a lock on them where locks are supported, so that others can
	// recognize the leftovers of a killed process.
	Prefix string
}

// ErrChanged is returned by Replace for a file that holds something else.
var ErrChanged = errors.New("someone else changed it meanwhile")

// errFenced is returned to a writer that was suspended for so long that another took its turn.
var errFenced = errors.New("another process took this one for dead because it was suspended; run the same command again")

// Put writes a file, replacing any that exists.
func (d *Folder) Put(ctx context.Context, name string, mode fs.FileMode, write func(io.Writer) error) error {
	return d.commit(ctx, name, mode, write, func(tmp string) error { return d.Calls.Move(d.Root, tmp, name) })
}

// Create writes a file that must not exist yet; if it does, Create returns an error
// that wraps fs.ErrExist. Of several callers one wins, and nobody sees a partial
// file.
func (d *Folder) Create(ctx context.Context, name string, mode fs.FileMode, write func(io.Writer) error) error {
	if err := d.free(name); err != nil {
		return err
	}
	return d.commit(ctx, name, mode, write, func(tmp string) error {
		c, err := d.claim(ctx, name, tmp, func() error { return d.free(name) })
		if err != nil {
			return err
		}
		defer c.release()
		return fenced(d.publish(c, tmp, name))
	})
}

// publish gives a complete file its name by the first of these that is supported: a
// hard link, a rename that replaces nothing, or a check followed by a rename. The
// last holds the claim, without which two writers could check at once.
func (d *Folder) publish(c *claim, tmp, name string) error {
	linked, err := d.Calls.HardLink(d.Root, tmp, name)
	if linked {
		d.Root.Remove(tmp) // otherwise it is a leftover: the file has its name
	}
	if linked || err != nil {
		return err
	}
	if moved, err := d.Calls.MoveNew(d.Root, tmp, name); moved || err != nil {
		return err
	}
	if err := d.free(name); err != nil {
		return err
	}
	if err := c.held(); err != nil {
		return err
	}
	return d.Calls.Move(d.Root, tmp, name)
}

// Replace writes a file if the existing one holds old; otherwise it returns
// ErrChanged. Of several callers one wins.
func (d *Folder) Replace(ctx context.Context, name string, mode fs.FileMode, old, data []byte) error {
	same := func() error { return d.holds(name, old) }
	if err := same(); err != nil {
		return err
	}
	write := func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
	return d.commit(ctx, name, mode, write, func(tmp string) error {
		c, err := d.claim(ctx, name, tmp, same)
		if err != nil {
			return err
		}
		defer c.release()
		if err := same(); err != nil {
			return err
		}
		if err := c.held(); err != nil {
			return err
		}
		return fenced(d.Calls.Move(d.Root, tmp, name))
	})
}

// fenced explains that the temporary file is gone. Without it the error would seem
// to say that the file itself is missing.
func fenced(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (%v)", errFenced, err)
	}
	return err
}

// free returns an error that wraps fs.ErrExist if the name is taken.
func (d *Folder) free(name string) error {
	_, err := fsys.Again(func() (fs.FileInfo, error) { return d.Root.Lstat(name) })
	switch {
	case err == nil:
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// holds returns an error that wraps ErrChanged if the file does not hold old.
func (d *Folder) holds(name string, old []byte) error {
	b, err := d.read(name, int64(len(old))+1)
	if err == nil && !bytes.Equal(b, old) {
		err = fmt.Errorf("%s: %w", name, ErrChanged)
	}
	return err
}

// read reads a small file up to a size.
func (d *Folder) read(name string, size int64) ([]byte, error) {
	return fsys.Again(func() ([]byte, error) {
		// Without O_NONBLOCK, opening a named pipe in the file's place would block.
		f, err := d.Root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, size))
	})
}

// commit writes a temporary file, makes it durable and gives it its name.
func (d *Folder) commit(ctx context.Context, name string, mode fs.FileMode, write func(io.Writer) error, publish func(tmp string) error) (err error) {
	f, err := d.temp(name, mode)
	if err != nil {
		return err
	}
	tmp := f.path
	defer func() {
		f.file.Close() // again, if flush closed it
		if err != nil {
			d.Root.Remove(tmp)
		}
	}()
	if err := write(ctxio.Writer(ctx, f.file)); err != nil {
		return err
	}
	if _, err := d.Calls.Sync(f.file); err != nil {
		return err
	}
	if err := f.flush(); err != nil {
		return fmt.Errorf("closing %s: %w", tmp, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := publish(tmp); err != nil {
		return err
	}
	_, err = d.Calls.SyncFolder(d.Root, path.Dir(name))
	return err
}

// A tempFile is a file being written.
type tempFile struct {
	file   *os.File
	path   string
	locked bool
}

// flush makes the file system report whether the writes succeeded, which some do
// only when a file is closed. A locked file stays open, to keep the lock.
func (f *tempFile) flush() error {
	if !f.locked {
		return f.file.Close()
	}
	fd, err := unix.FcntlInt(f.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return os.NewFile(uintptr(fd), f.path).Close()
}

func (d *Folder) tempName(name string) string {
	return path.Join(path.Dir(name), d.Prefix+fsys.Self().String()+"-"+rand.Text())
}

// temp creates and locks a new file next to name, and creates the folder if it is
// missing. The caller closes it.
func (d *Folder) temp(name string, mode fs.FileMode) (*tempFile, error) {
	for try := 0; ; try++ {
		tmp := d.tempName(name)
		f, err := d.Root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err == nil {
			locked, lerr := d.Calls.Lock(f)
			if lerr != nil {
				f.Close()
				d.Root.Remove(tmp)
				return nil, lerr
			}
			// Between the two, another process may have taken it for a leftover.
			if _, err = d.Root.Lstat(tmp); err == nil {
				return &tempFile{f, tmp, locked}, nil
			}
			f.Close()
		}
		// The folder is missing, or has been removed because it was empty.
		if !errors.Is(err, fs.ErrNotExist) || try == 10 {
			return nil, err
		}
		if err := d.mkdirAll(path.Dir(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// mkdirAll makes the folder and its parents durable, one after the other.
func (d *Folder) mkdirAll(dir string) error {
	if dir == "." {
		return nil
	}
	err := d.Root.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		if err = d.mkdirAll(path.Dir(dir)); err == nil {
			err = d.Root.Mkdir(dir, 0o755)
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = d.Calls.SyncFolder(d.Root, path.Dir(dir))
	return err
}
