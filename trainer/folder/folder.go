// Package folder opens a version in a folder for a program that then runs on it:
//
//	opened, err := folder.Open(ctx, version, "/data", folder.Options{})
//
// A restore trusts an existing file if its size, time and mode are right. This package
// does not: when Open returns no error, the folder holds exactly what the version
// holds, and all contents have been authenticated or compared.
package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/walk"
)

// Options configure Open. The zero value opens a complete version.
type Options struct {
	// AllowIncomplete opens a version that lacks some of its source.
	AllowIncomplete bool
	// Failed is called for every file that could not be restored. It may be called from
	// several goroutines.
	Failed func(path string, err error)
	// Track is called when a long step begins, with the name of the step and its
	// progress: bytes done, total bytes, files and failures. It returns a function that
	// is called when the step ends.
	Track func(what string, read func() (done, total, files, failures int64)) (stop func())
	// Waiting is called before Open waits for another process that is opening a
	// version in the same folder.
	Waiting func()
}

// A Result says what Open did, or how far it came before an error.
type Result struct {
	Files, Bytes            int64 // written
	Compared, ComparedBytes int64 // files that were compared with the version by their contents
	SetIDs                  int64 // entries whose set-ID bits were left out
	NoModes, NoTimes        bool  // the file system does not keep modes, or times
}

// An OccupiedError says that a folder holds something that is not in the version in
// this form. None of it was changed.
type OccupiedError struct {
	Dir     string
	Version *dataset.Version
	// Found lists what was found first, in the order of the paths. There may be more.
	Found []*dataset.FileError
}

func (e *OccupiedError) Error() string {
	text := fmt.Sprintf("%s holds what is not of dataset %s, version %d", e.Dir, e.Version.Dataset(), e.Version.Number)
	for i, f := range e.Found {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		text += fmt.Sprintf("%s%q (%v)", sep, f.Path, f.Err)
	}
	return text
}

// Unwrap returns [dataset.ErrDiffers].
func (e *OccupiedError) Unwrap() error { return dataset.ErrDiffers }

// Foreign reports whether anything in Found is not in the version at all, as in a folder
// that is used for something else.
func (e *OccupiedError) Foreign() bool {
	return slices.ContainsFunc(e.Found, func(f *dataset.FileError) bool { return errors.Is(f, errForeign) })
}

var errForeign = errors.New("not in the version")

// A LeftoverError says that another restore is working in the folder, or was killed on
// another machine and left its files there.
type LeftoverError struct {
	Path string // of the folder that it writes its files to
}

func (e *LeftoverError) Error() string {
	return fmt.Sprintf("%s belongs to another restore that is running or was killed", e.Path)
}

// Open puts the files of a version into a folder, and ensures that the folder holds
// nothing else. If the folder is missing, Open makes it, accessible only to this user.
// Files from an earlier Open, interrupted or complete, are kept and compared by their
// contents; what is missing is restored. If the folder holds anything else, Open
// changes nothing and returns an [*OccupiedError].
//
// After an error the folder may hold files of the version, each of them authentic and
// complete, but not all. Another Open continues. Processes on the same machine that
// open versions in the same folder wait for each other.
func Open(ctx context.Context, v *dataset.Version, dir string, opts Options) (Result, error) {
	if err := jobs.Check(ctx, v); err != nil {
		return Result{}, err
	}
	if dir == "" {
		return Result{}, errors.New("the folder's name is empty; use . for the current folder")
	}
	if err := v.CheckComplete(); err != nil && !opts.AllowIncomplete {
		return Result{}, err
	}
	o := &opening{Options: opts, version: v, dir: dir}
	if o.Track == nil {
		o.Track = func(string, func() (int64, int64, int64, int64)) func() { return func() {} }
	}
	err := objects.Of(v).During(ctx, o.run)
	return o.done, err
}

// An opening is one call of Open.
type opening struct {
	Options
	version   *dataset.Version
	dir       string
	root      *os.Root
	done      Result
	unchanged int64 // files that a restore found and did not write
}

func (o *opening) run(ctx context.Context) error {
	if err := walk.CheckDestination(objects.Of(o.version).Vault, o.dir); err != nil {
		return err
	}
	if err := makeFolder(o.dir); err != nil {
		return err
	}
	unlock, err := o.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if o.root, err = os.OpenRoot(o.dir); err != nil {
		return fmt.Errorf("opening the folder: %w", err)
	}
	defer o.root.Close()

	before := &look{opening: o, first: true}
	if err := before.run(ctx); err != nil {
		return err
	}
	if err := o.restore(ctx, restore.Options{}); err != nil {
		return err
	}
	after := &look{opening: o, contents: before.files > 0 || o.unchanged > 0}
	if before.unsummed || o.unchanged > before.files {
		// These can be compared only with the packs themselves.
		again := restore.Options{Overwrite: restore.OverwriteAlways, Select: func(e *tree.Entry) bool { return e.IsFile() && !hasSums(e) }}
		if err := o.restore(ctx, again); err != nil {
			return err
		}
	}
	return after.run(ctx)
}

// makeFolder makes the folder if it is missing.
func makeFolder(dir string) error {
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		if _, lerr := os.Lstat(dir); lerr == nil {
			return fmt.Errorf("%s is a link whose target does not exist", dir)
		}
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return fmt.Errorf("making the folder: %w", err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making the folder: %w", err)
		}
	case err != nil:
		return fmt.Errorf("opening the folder: %w", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	}
	return nil
}

// restore restores what is missing, or what the options select.
func (o *opening) restore(ctx context.Context, opts restore.Options) error {
	opts.Failed, opts.Progress = o.Failed, new(restore.Progress)
	total := o.version.Totals.Bytes
	if opts.Select != nil {
		total = 0 // not known
	}
	stop := o.Track("opening", func() (int64, int64, int64, int64) {
		s := opts.Progress.Stats()
		return s.Bytes + s.UnchangedBytes, total, s.Files + s.Unchanged, s.Failures
	})
	r, err := restore.Run(ctx, o.version, o.dir, opts)
	stop()
	d := &o.done
	d.Files, d.Bytes, o.unchanged = d.Files+r.Files, d.Bytes+r.Bytes, o.unchanged+r.Unchanged
	d.SetIDs, d.NoModes, d.NoTimes = max(d.SetIDs, r.SetIDs), d.NoModes || r.NoModes, d.NoTimes || r.NoTimes
	return err
}
