// Package atomicfile writes files that appear whole or not at all: to a temporary
// name in the same folder, synced, and then given their name. It does so on file
// systems that have no locks, no hard links and no syncing of folders too.
package atomicfile

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Create makes a new file with the permissions mode. If the file exists, it returns an
// error that wraps fs.ErrExist; of several concurrent callers, one wins.
func Create(name string, mode fs.FileMode, write func(io.Writer) error) error {
	return in(name, func(d *Folder, base string) error { return d.Create(context.Background(), base, mode, write) })
}

// Replace is Create, but replaces an existing file.
func Replace(name string, mode fs.FileMode, write func(io.Writer) error) error {
	return in(name, func(d *Folder, base string) error { return d.Put(context.Background(), base, mode, write) })
}

func in(name string, do func(d *Folder, base string) error) error {
	dir, base := filepath.Split(name)
	root, err := os.OpenRoot(filepath.Clean(dir))
	if err != nil {
		return err
	}
	defer root.Close()
	err = do(&Folder{Root: root, Prefix: ".vaultpack-"}, base)
	// The errors of a root name the file alone.
	var path *fs.PathError
	if errors.As(err, &path) && path.Path == base {
		path.Path = name
	}
	return err
}
