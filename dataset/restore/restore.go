// Package restore writes the files of a version to a folder:
//
//	res, err := restore.Run(ctx, version, "out", restore.Options{})
//
// A file appears in its place only when it is authentic, complete and on disk.
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
	"github.com/vaultpack/vaultpack/dataset/shards"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/place"
	"github.com/vaultpack/vaultpack/internal/walk"
)

// Options configure a restore. The zero value restores the whole version.
type Options struct {
	// Select reports whether to restore an entry; nil selects all. With Delete it is
	// also called for everything in the directory, with only Path set. It is called
	// from one goroutine.
	Select func(*tree.Entry) bool
	// Shard restores only a shard of the version, while other workers restore the others to
	// the same directory; nil restores all. A folder that several shards share, and the
	// directory itself, gets the attributes of the version from each of them, so that it
	// has them once all have ended, whatever Overwrite says and whether or not it existed.
	// Delete removes what lies in the order of paths between the entries of the shard.
	Shard *shards.Shard
	// UnsafeLinks also restores symbolic links that lead out of the directory.
	UnsafeLinks bool
	// PreserveSetID also restores set-user-ID and set-group-ID bits. Owners are not
	// restored, so a set-ID program of another user becomes one of the user who
	// restores it.
	PreserveSetID bool
	// Overwrite says how to treat files that already exist.
	Overwrite Overwrite
	// Delete removes what is selected and in the directory but not in the version.
	// The vault and keys are never removed. Nothing is removed if the directory and
	// the version have nothing in common. An incomplete version is refused unless
	// AllowIncomplete is set, since what it lacks may only have been unreadable.
	Delete          bool
	AllowIncomplete bool
	// Keep lists files that Delete never removes, such as the configuration file that
	// names the vault.
	Keep []string
	// DryRun determines what would be done. Nothing is written, and no pack is read.
	DryRun bool
	// Failed is called for every file that could not be restored. It may be called
	// from several goroutines.
	Failed func(path string, err error)
	// Told is called with each action on a file or link, and with the removal of
	// each folder; in a dry run, with what would be done. It is called from one
	// goroutine.
	Told func(a Action, e *tree.Entry)
	// Progress, if not nil, counts what has been done so far.
	Progress *Progress
}

// An Action is what a restore does to a path.
type Action string

// The actions of a restore.
const (
	Create  Action = "create"
	Replace Action = "replace"
	Remove  Action = "remove"
	// Leave is reported for a file that differs but that Overwrite keeps.
	Leave Action = "leave"
)

// A Result is the result of a restore, or how far it came before an error.
type Result struct {
	// Stats counts what was done or, after a dry run, would be done.
	Stats
	// NoModes and NoTimes report that the destination's file system does not keep modes
	// or times, so that those of the version were not restored. Without modes, differing
	// modes do not count as a difference; without times, files are replaced each time. A
	// dry run cannot detect this, since it writes nothing.
	NoModes, NoTimes bool
	// Leftovers holds the folders in the destination in which other restores work, or
	// worked until they were killed. Which of the two cannot be determined, since they
	// ran on another machine or in another container. Leftovers are removed when they
	// are a day old.
	Leftovers []string
}

// A job is one restore of one version.
type job struct {
	Options
	counters
	noModes, noTimes atomic.Bool
	leftovers        []string

	version *dataset.Version
	fails   jobs.Failures
	to      *place.Dest
	own     []walk.Own
	keep    []walk.Own // of Keep
	staging string
	folders folderList
	order   walk.Order
	earlier earlierVersions
}

// Run restores the version to dir, which it creates if needed. Every file is first
// written to a staging folder, and moved into place only when all of it is authentic
// and on disk; until then an existing file stays. No link below dir is followed.
//
// If individual files cannot be restored, Run restores the rest and returns a
// [*dataset.PartialError]. If it is interrupted or stops on another error, the files
// that were authentic and complete are in place, and another Run can continue. The
// Result is valid in either case.
func Run(ctx context.Context, v *dataset.Version, dir string, opts Options) (Result, error) {
	r := &job{Options: opts}
	if opts.Progress != nil {
		opts.Progress.now.Store(&r.counters)
	}
	err := r.restore(ctx, v, dir)
	return Result{Stats: r.stats(), NoModes: r.noModes.Load(), NoTimes: r.noTimes.Load(), Leftovers: r.leftovers}, err
}

func (r *job) restore(ctx context.Context, v *dataset.Version, dir string) error {
	if err := jobs.Check(ctx, v); err != nil {
		return err
	}
	if err := r.Shard.Check(v); err != nil {
		return err
	}
	if dir == "" {
		return errors.New("the destination is empty; use . for the current folder")
	}
	if r.Overwrite < 0 || r.Overwrite > OverwriteNever {
		return fmt.Errorf("%d is not a way to overwrite", r.Overwrite)
	}
	if err := v.CheckComplete(); err != nil && r.Delete && !r.AllowIncomplete {
		return fmt.Errorf("%w, so it cannot tell what to delete", err)
	}
	r.version = v
	r.to = &place.Dest{PreserveSetID: r.PreserveSetID, NoModes: &r.noModes, NoTimes: &r.noTimes, Bytes: &r.Bytes}
	return r.fails.End("restore", objects.Of(v).During(ctx, func(ctx context.Context) error { return r.run(ctx, dir) }))
}

func (r *job) run(ctx context.Context, dir string) (err error) {
	if r.Shard.Empty() && r.Shard.Number > 0 {
		return nil
	}
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
	r.folders.created, r.folders.shard = created || r.Shard != nil, r.Shard
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
	settleRoot, err := r.holdRoot(dir, created)
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
	// Whatever stopped it, folders must not be left in an intermediate state.
	if aerr := r.folderAttributes(ctx, err == nil); err == nil {
		err = aerr
	}
	settleRoot(err)
	if serr := syncFS(r.to.Root); err == nil && serr != nil {
		err = fmt.Errorf("writing to disk: %w", serr)
	}
	return err
}

// open opens the destination, and makes it if it is missing.
func (r *job) open(dir string) (created bool, err error) {
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

func (r *job) fail(e *tree.Entry, err error) {
	if objects.Of(r.version).IsClosed() {
		return // the file has not failed: Run returns ErrClosed
	}
	r.Failures.Add(1)
	r.fails.Add(&dataset.FileError{Path: e.Name(), Err: err})
	if r.Failed != nil {
		r.Failed(e.Name(), err)
	}
}

func (r *job) tell(a Action, e *tree.Entry) {
	if r.Told != nil {
		r.Told(a, e)
	}
}

// wanted makes the folders above the entry, and reports whether the entry must be
// written. It makes the entry itself if that is a folder.
func (r *job) wanted(ctx context.Context, e *tree.Entry) bool {
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
		if r.Shard != nil && !r.DryRun { // the worker before may have been killed
			if err := r.foldersAbove(ctx, e); err != nil {
				r.fail(e, err)
			}
		}
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
		if err = r.folder(ctx, e, selected); err == nil {
			r.folders.made = len(r.folders.above)
		}
	}
	if err != nil {
		r.fail(e, err)
	}
	return err == nil && !e.IsDir()
}

// plan counts and reports what would be done to an entry.
func (r *job) plan(ctx context.Context, e *tree.Entry, there thing, action Action) {
	err := r.planAbove(ctx, e)
	if err == nil && e.IsDir() {
		if err = r.planFolder(ctx, e, selected); err == nil {
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
