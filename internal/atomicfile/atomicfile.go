// Package atomicfile writes files atomically: each is written under a temporary
// name in the same folder, synced, and then given its final name. This also works
// on file systems without locks, hard links or syncing of folders.
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

// Replace is like Create, but replaces an existing file.
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
	// Errors from an os.Root name only the file, not the folder.
	var path *fs.PathError
	if errors.As(err, &path) && path.Path == base {
		path.Path = name
	}
	return err
}
