package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// notSource are folders that are no part of a source, as package trainer has it.
var notSource = []string{".git", "__pycache__", ".ipynb_checkpoints", ".venv"}

// copySource copies a source folder as a job in SageMaker gets it.
func copySource(to, from string) error {
	root := os.DirFS(from)
	return fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		at := filepath.Join(to, filepath.FromSlash(name))
		switch {
		case err != nil:
			return err
		case e.IsDir() && slices.Contains(notSource, e.Name()):
			return fs.SkipDir
		case e.IsDir():
			return os.MkdirAll(at, 0o755)
		case e.Type()&fs.ModeSymlink != 0:
			target, err := fs.ReadLink(root, name)
			if err != nil {
				return err
			}
			return os.Symlink(target, at)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if info.Mode().Perm()&0o100 != 0 {
			mode = 0o755
		}
		b, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		return os.WriteFile(at, b, mode)
	})
}

// copyPlain fills the folder of a channel with what is in a folder, or with one file, as
// SageMaker does with a prefix that is the key of one object.
func copyPlain(to, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return os.CopyFS(to, os.DirFS(from))
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is neither a folder nor a file", from)
	}
	f, err := os.OpenFile(filepath.Join(to, filepath.Base(from)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(copyFrom(f, from), f.Close())
}
