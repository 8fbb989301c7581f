package atomicfile

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// Sweep removes the half-written files that dead processes have left below dir, and
// the folders that are then empty. It leaves alone the files of live processes: on
// this machine it looks for the process and its lock, and a file from another
// machine is kept until it is a day old.
func (d *Folder) Sweep(ctx context.Context, dir string) error {
	var folders []string
	err := fs.WalkDir(d.Root.FS(), dir, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // its writer was faster
		}
		if err == nil && e.IsDir() {
			folders = append(folders, name)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), d.Prefix) {
			return err
		}
		if err := d.sweep(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	// Empty folders are leftovers too, from a process that died before it created a
	// file in them. Others stay: they cannot be removed. The deepest come first.
	for _, name := range slices.Backward(folders) {
		if name != "." {
			d.Root.Remove(name)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sweep removes a file if its writer is dead.
func (d *Folder) sweep(name string) error {
	base := path.Base(name)
	kind := strings.TrimPrefix(base, d.Prefix)
	stale := func() bool { return d.olderThan(name, fsys.Stale) }
	switch {
	case strings.HasPrefix(kind, claimPrefix):
		_, err := d.breakClaim(name, func() bool { return d.olderThan(name, staleAfter) })
		return err
	case strings.HasPrefix(kind, breakPrefix):
		if !stale() {
			return nil
		}
		return d.Root.Remove(name)
	}
	dead, err := d.dead(name, base, stale)
	if _, named := fsys.ParseOwner(kind); !named && err == nil && !dead {
		// The name does not identify the writer, so the lock has to, where locks are supported.
		if dead, err = d.locks(name); errors.Is(err, fsys.ErrLocked) {
			return nil
		}
	}
	if err != nil || !dead {
		return err
	}
	return d.Root.Remove(name)
}
