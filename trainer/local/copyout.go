package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// copyOut copies a folder of those that a job has left, sub, over the files of to/sub.
// Links stay links, and no link that is there is written through, since a job may have
// made it.
func copyOut(ctx context.Context, warn func(error), from, sub, to string) error {
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(os.DirFS(from), sub, func(name string, e fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil || name == "." {
			return err
		}
		there, err := root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case e.IsDir() != there.IsDir():
			return fmt.Errorf("%s is in the way of the job's output; move it away", filepath.Join(to, name))
		case e.Type() == fs.ModeSymlink: // files take the place of what is there in one step
			if err := root.Remove(name); err != nil {
				return err
			}
		}
		switch {
		case e.IsDir():
			if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		case e.Type() == fs.ModeSymlink:
			return copyLink(warn, root, from, name)
		case e.Type().IsRegular():
			return copyFile(root, from, name)
		default:
			warn(fmt.Errorf("%s in the job's output is not a file, folder or link, and is skipped", strconv.Quote(name)))
		}
		return nil
	})
}

func copyLink(warn func(error), root *os.Root, from, name string) error {
	target, err := os.Readlink(filepath.Join(from, name))
	if err != nil {
		return err
	}
	if end := path.Join(path.Dir(name), target); path.IsAbs(target) || end == ".." || strings.HasPrefix(end, "../") {
		warn(fmt.Errorf("%s in the job's output is a link that leaves the folder, to %s: its target is not copied", strconv.Quote(name), strconv.Quote(target)))
	}
	return root.Symlink(target, name)
}

func copyFile(root *os.Root, from, name string) error {
	src, err := os.Open(filepath.Join(from, name))
	if err != nil {
		return err
	}
	defer src.Close()
	temp := path.Join(path.Dir(name), ".vaultpack-"+rand.Text())
	dst, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(dst, src); err == nil {
		_, err = new(fsys.Calls).Sync(dst) // what it was copied from is removed next
	}
	if err = errors.Join(err, dst.Close()); err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, root.Remove(temp))
	}
	return nil
}
