package restore

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/walk"
)

// newMarker is a file in a staging folder. It says that the restore created the
// destination.
const newMarker = ".new" // not a stageName

// calls are the real system calls; tests replace them.
var calls fsys.Calls

// makeStaging makes and locks the staging folder, and removes those of killed runs.
func (r *job) makeStaging() (cleanUp func(), err error) {
	names, err := fs.Glob(r.to.Root.FS(), walk.StagingPrefix+"*")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !walk.IsStaging(name) {
			continue
		}
		if f, err := r.to.Root.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err == nil {
			switch fate, err := calls.FateOf(f, strings.TrimPrefix(name, walk.StagingPrefix)); {
			case err != nil || fate == fsys.Unknown:
				r.leftovers = append(r.leftovers, name)
			case fate == fsys.Dead:
				// The destination counts as new, as it did for that run.
				_, err := r.to.Root.Lstat(name + "/" + newMarker)
				r.folders.created = r.folders.created || err == nil
				r.staging = name
				r.removeStaging()
			}
			f.Close()
		}
	}
	r.staging = walk.StagingPrefix + fsys.Self().String() + "-" + rand.Text()
	if err := r.to.Root.Mkdir(r.staging, 0o700); err != nil {
		return nil, err
	}
	lock, err := r.to.Root.Open(r.staging)
	if err != nil {
		return nil, err
	}
	r.to.StageFD = int(lock.Fd())
	// Without locks, the name identifies the owner.
	if _, err := calls.Lock(lock); err != nil {
		lock.Close()
		return nil, errors.Join(err, r.to.Root.RemoveAll(r.staging))
	}
	cleanUp = func() {
		r.removeStaging()
		lock.Close()
	}
	if r.folders.created {
		fd, err := r.to.Create(newMarker)
		if err != nil {
			cleanUp()
			return nil, err
		}
		unix.Close(fd)
	}
	if err := r.to.ProbeAttributes(); err != nil {
		cleanUp()
		return nil, err
	}
	return cleanUp, nil
}

// removeStaging removes the staging folder, and everything that was moved aside into it.
func (r *job) removeStaging() {
	if r.staging == "" {
		return
	}
	r.openRoot()
	if r.to.Root.RemoveAll(r.staging) != nil {
		// The mode of a folder that was moved aside may keep its owner from emptying it.
		fs.WalkDir(r.to.Root.FS(), r.staging, func(name string, d fs.DirEntry, err error) error {
			if d != nil && d.IsDir() {
				if f, err := r.to.Root.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err == nil {
					f.Chmod(0o700)
					f.Close()
				}
			}
			return nil
		})
		r.to.Root.RemoveAll(r.staging)
	}
	r.staging = ""
}
