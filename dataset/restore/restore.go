// Package restore writes the files of a version to a folder:
//
//	job := &restore.Job{Overwrite: restore.OverwriteIfNewer}
//	err := job.Run(ctx, version, "out")
//
// What takes its place in the folder is authentic, whole and on disk.
package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/place"
	"github.com/vaultpack/vaultpack/internal/walk"
)

// A Job writes the files of a version below a directory. Every file is
// written beside the tree first, and takes its place only when all of it is
// authentic and on disk; what was there before stays until then. No link below the
// directory is followed. The zero value restores the whole version. A Job is
// used once.
type Job struct {
	// Select says which entries to restore; nil is all of them. With Delete it is
	// also asked for what lies in the directory: then only Path is set. It is called
	// from one goroutine.
	Select func(*tree.Entry) bool
	// UnsafeLinks also makes symbolic links that lead out of the directory.
	UnsafeLinks bool
	// PreserveSetID also restores set-user-ID and set-group-ID bits. Owners are not
	// restored, so with it another user's program may become one of whoever restores.
	PreserveSetID bool
	// Overwrite says what becomes of files that are there already.
	Overwrite Overwrite
	// Delete removes what is in the directory and selected, and not in the version.
	// The vault and keys are never removed, and nothing is where nothing that is in
	// the directory is in the version. A version that is incomplete is
	// refused, unless AllowIncomplete is set: what it lacks may only not have been
	// readable.
	Delete          bool
	AllowIncomplete bool
	// Keep are files that Delete leaves alone if they are in the directory and not in
	// the version, such as the configuration by which the vault was found.
	Keep []string
	// DryRun only finds out what would be done. Nothing is written, and no pack read.
	DryRun bool
	// Failed is told every file that could not be restored. It may be called
	// from several goroutines.
	Failed func(path string, err error)
	// Told is told what is done to each file, link and, where it is removed, folder;
	// in a dry run, what would be done. It is called from one goroutine.
	Told func(a Action, e *tree.Entry)

	// Counters, to be read at any time.
	Files, Bytes              atomic.Int64 // written; in a dry run, to be written
	Unchanged, UnchangedBytes atomic.Int64 // files that were there already
	Left                      atomic.Int64 // files that Overwrite has kept from being replaced
	Links, Folders            atomic.Int64
	Deleted                   atomic.Int64 // files, links and folders
	SetIDs                    atomic.Int64 // entries whose set-ID bits were left out
	Failures                  atomic.Int64

	// NoModes and NoTimes say that the destination's file system does not keep modes, or
	// times: those of the version are left out then. Without modes, files are the same
	// whatever theirs are; without times, files are replaced each time. A dry run does
	// not find that out, since it writes nothing.
	NoModes, NoTimes atomic.Bool

	// Leftovers are the folders in the destination in which other restores work, or have
	// worked until they were killed: on another machine or in another container, so that
	// it cannot be told which. They are removed when they are a day old. To be read when
	// Run has returned.
	Leftovers []string

	version *dataset.Version
	used    atomic.Bool
	fails   jobs.Failures
	to      *place.Dest
	own     []walk.Own
	keep    []walk.Own // of Keep
	staging string
	folders folderList
	order   walk.Order
	earlier earlierVersions
}

// errNil is of a job that was not made.
var errNil = errors.New("restore: a nil job")

// An Action is what a Job does to a path.
type Action string

// What can be done to a path.
const (
	Create  Action = "create"
	Replace Action = "replace"
	Remove  Action = "remove"
	// Leave is of a file that differs, and that Overwrite keeps.
	Leave Action = "leave"
)

// Run restores the version to dir, which is made if needed. If single files could
// not be restored, it restores the rest and returns a *PartialError. If it is
// interrupted or stops on another error, what was authentic and complete is in its
// place, and another Job continues from there.
func (r *Job) Run(ctx context.Context, v *dataset.Version, dir string) error {
	if r == nil {
		return errNil
	}
	if err := jobs.Begin(ctx, v, &r.used); err != nil {
		return err
	}
	if dir == "" {
		return errors.New("the destination is empty; use . for the current folder")
	}
	if r.Overwrite < 0 || r.Overwrite > OverwriteNever {
		return fmt.Errorf("%d is no way to overwrite", r.Overwrite)
	}
	if err := v.CheckComplete(); err != nil && r.Delete && !r.AllowIncomplete {
		return fmt.Errorf("%w, so it cannot tell what to delete", err)
	}
	r.version = v
	r.to = &place.Dest{PreserveSetID: r.PreserveSetID, NoModes: &r.NoModes, NoTimes: &r.NoTimes, Bytes: &r.Bytes}
	return r.fails.End("restore", objects.Of(v).During(ctx, func(ctx context.Context) error { return r.run(ctx, dir) }))
}

func (r *Job) run(ctx context.Context, dir string) (err error) {
	if err := walk.CheckDestination(objects.Of(r.version).Vault, dir); err != nil {
		return err
	}
	if r.own, err = walk.OwnBelow(objects.Of(r.version).Vault, dir); err != nil {
		return err
	}
	if r.keep, err = walk.Below(dir, r.Keep); err != nil {
		return err
	}
	created, err := r.open(dir)
	if err != nil {
		return err
	}
	r.folders.created = created
	defer r.to.CloseLast()
	if r.to.Root != nil {
		defer r.to.Root.Close()
	}
	if err := r.checkDelete(ctx, dir); err != nil {
		return err
	}
	if r.DryRun {
		if err := r.files(ctx); err != nil {
			return err
		}
		return r.deleteExtras(ctx)
	}
	settleRoot, err := r.holdRoot(dir)
	if err != nil {
		return fmt.Errorf("opening the destination: %w", err)
	}
	cleanUp, err := r.makeStaging()
	if err != nil {
		settleRoot(err)
		return fmt.Errorf("writing to the destination: %w", err)
	}
	defer cleanUp()
	err = r.files(ctx)
	if err == nil {
		err = r.deleteExtras(ctx)
	}
	// Whatever has stopped it: folders are not left in a state of in between.
	if aerr := r.folderAttributes(ctx, err == nil); err == nil {
		err = aerr
	}
	settleRoot(err)
	if serr := syncFS(r.to.Root); err == nil && serr != nil {
		err = fmt.Errorf("writing to disk: %w", serr)
	}
	return err
}

// open opens the destination, and makes it where it is missing.
func (r *Job) open(dir string) (created bool, err error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, lerr := os.Lstat(dir); lerr == nil {
			return false, fmt.Errorf("the destination %s is a link whose target does not exist", dir)
		}
		if r.DryRun {
			return true, nil
		}
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return false, fmt.Errorf("making the destination: %w", err)
		}
		err := os.Mkdir(dir, 0o755)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return false, fmt.Errorf("making the destination: %w", err)
		}
		created = err == nil
	case err != nil:
		return false, fmt.Errorf("opening the destination: %w", err)
	case !info.IsDir():
		return false, fmt.Errorf("the destination %s is not a folder", dir)
	}
	if r.to.Root, err = os.OpenRoot(dir); err != nil {
		return false, fmt.Errorf("opening the destination: %w", err)
	}
	return created, nil
}

func (r *Job) fail(e *tree.Entry, err error) {
	if objects.Of(r.version).IsClosed() {
		return // it is no failure of the file, and Run returns ErrClosed
	}
	r.Failures.Add(1)
	r.fails.Add(&dataset.FileError{Path: e.Name(), Err: err})
	if r.Failed != nil {
		r.Failed(e.Name(), err)
	}
}

func (r *Job) tell(a Action, e *tree.Entry) {
	if r.Told != nil {
		r.Told(a, e)
	}
}

// wanted reports whether the entry is to be written, once the folders above it are
// there. It makes the entry itself if that is a folder.
func (r *Job) wanted(ctx context.Context, e *tree.Entry) bool {
	if r.isOwn(e.Path) {
		r.fail(e, walk.ErrOwn)
		return false
	}
	if !r.PreserveSetID && e.Mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		r.SetIDs.Add(1)
	}
	there, action := r.look(e)
	switch {
	case e.IsDir():
	case there == sameThere:
		r.Unchanged.Add(1)
		r.UnchangedBytes.Add(e.Size)
		return false
	case action == Leave:
		r.Left.Add(1)
		r.tell(Leave, e)
		return false
	}
	if r.DryRun {
		r.plan(ctx, e, there, action)
		return false
	}
	err := r.foldersAbove(ctx, e)
	if err == nil && e.IsDir() {
		if err = r.folder(ctx, e, true); err == nil {
			r.folders.made = len(r.folders.above)
		}
	}
	if err != nil {
		r.fail(e, err)
	}
	return err == nil && !e.IsDir()
}

// plan tells what would be done to an entry.
func (r *Job) plan(ctx context.Context, e *tree.Entry, there thing, action Action) {
	err := r.planAbove(ctx, e)
	if err == nil && e.IsDir() {
		if err = r.planFolder(ctx, e, true); err == nil {
			r.folders.made = len(r.folders.above)
			return
		}
	}
	if err == nil && there.otherKind(e) {
		err = r.mayClear(ctx, e)
	}
	if err != nil {
		r.fail(e, err)
		return
	}
	switch {
	case e.IsLink():
		if err := r.checkLink(e); err != nil {
			r.fail(e, err)
			return
		}
		r.Links.Add(1)
	default:
		r.Files.Add(1)
		r.Bytes.Add(e.Size)
	}
	r.tell(action, e)
}
