// Package atomicfile writes files that appear whole or not at all: to a temporary
// name in the same folder, synced, and then given their name.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Create makes a new file with the permissions mode. It returns an error that
// wraps fs.ErrExist if there is one of the name, and of several callers at once
// one wins.
func Create(name string, mode fs.FileMode, write func(io.Writer) error) error {
	if err := exists(name); err != nil {
		return err
	}
	return publish(name, mode, write, func(tmp string) error {
		err := os.Link(tmp, name) // unlike a rename, it replaces nothing
		if err == nil || errors.Is(err, fs.ErrExist) {
			return err
		}
		// A file system without links, such as FAT.
		if err := exists(name); err != nil {
			return err
		}
		return os.Rename(tmp, name)
	})
}

// Replace is Create, but takes the place of a file that is there.
func Replace(name string, mode fs.FileMode, write func(io.Writer) error) error {
	return publish(name, mode, write, func(tmp string) error { return os.Rename(tmp, name) })
}

func exists(name string) error {
	if _, err := os.Lstat(name); err == nil {
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	return nil
}

func publish(name string, mode fs.FileMode, write func(io.Writer) error, publish func(tmp string) error) error {
	dir := filepath.Dir(name)
	tmp := filepath.Join(dir, ".vaultpack-"+rand.Text())
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer os.Remove(tmp) // it is gone already, or has another name too
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := publish(tmp); err != nil {
		return err
	}
	// The name is to outlive a power failure, where folders can be synced.
	if d, err := os.Open(dir); err == nil {
		d.Sync()
		d.Close()
	}
	return nil
}
