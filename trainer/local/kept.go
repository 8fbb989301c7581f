package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// InProgress is the status of a running job.
const InProgress Status = "InProgress"

// ErrNoJob is returned by [Find] if no folder of the job is left.
var ErrNoJob = errors.New("no folder of that job is left")

// ErrNameTaken is returned if a job of this user with the same name runs or has results
// left.
var ErrNameTaken = errors.New("the name is taken by a job that runs or has results left")

// CheckFree returns an error that wraps [ErrNameTaken] if [Find] finds a job with the
// name.
func CheckFree(job string, dirs ...string) error {
	k, err := Find(job, dirs...)
	switch {
	case errors.Is(err, ErrNoJob):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: job %s (%s) in %s", ErrNameTaken, job, k.Status, k.Dir)
}

// checkOthers compares the name, and the place for checkpoints, with those of other jobs once
// the job has a folder of its own: of two that have begun at the same time one, or both, are
// refused.
func (j *Job) checkOthers(own string) error {
	all, err := List(filepath.Dir(own))
	if err != nil {
		return err
	}
	for _, k := range all {
		if k.Dir == own {
			continue
		}
		if k.Job == j.Name {
			return fmt.Errorf("%w: job %s (%s) in %s", ErrNameTaken, k.Job, k.Status, k.Dir)
		}
		if err := j.checkPlace(&k); err != nil {
			return err
		}
	}
	return nil
}

// An UndeliveredError reports that the results of a job could not be delivered, and
// are kept.
type UndeliveredError struct {
	Job string
	Dir string // the job's folder
	Err error
}

func (e *UndeliveredError) Error() string {
	return fmt.Sprintf("%v; the results of job %s are kept in %s", e.Err, e.Job, e.Dir)
}

func (e *UndeliveredError) Unwrap() error { return e.Err }

// A Kept is the folder of one of this user's jobs that has results, or may still get
// some.
type Kept struct {
	Job     string
	Dataset string
	Dir     string
	To      Destination
	// Drop reports whether the results are not wanted, so that only checkpoints are left.
	Drop bool
	// Checkpoints is the place for the checkpoints. It is zero if they are among the
	// results.
	Checkpoints Destination
	// Status is InProgress for a running job, and Stopped for a job whose run was killed.
	Status         Status
	Reason         string
	Started, Ended time.Time
}

// killed is the reason of a job whose run did not live to tell another.
const killed = "the run of vaultpack was killed"

// workDirs are where folders of jobs are looked for.
func workDirs(more ...string) []string {
	dirs := []string{memoryFS, os.TempDir(), diskFS}
	for _, dir := range more {
		if dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// List returns the folders of this user's jobs, in the usual places and in dirs.
func List(dirs ...string) ([]Kept, error) {
	var all []Kept
	for _, dir := range workDirs(dirs...) {
		err := eachFolder(dir, func(f *folder) error {
			switch k, keep, err := f.look(); {
			case err != nil && f.gone():
			case err != nil:
				return err
			case keep:
				all = append(all, k)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b Kept) int { return strings.Compare(a.Job, b.Job) })
	return all, nil
}

// Find returns the folder of a job. It searches where [List] does.
func Find(job string, dirs ...string) (*Kept, error) {
	all, err := List(dirs...)
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		if k.Job == job {
			return &k, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", job, ErrNoJob)
}

// Deliver passes the checkpoints to keep, if they have their own place, and the results to
// f, and removes the folder if both return nil. Neither is called if it has nothing to
// deliver.
func (k *Kept) Deliver(ctx context.Context, f, keep func(context.Context, *Results) error) error {
	done := false
	err := eachFolder(filepath.Dir(k.Dir), func(d *folder) error {
		if d.dir != k.Dir {
			return nil
		}
		// Looked at again, now that it is locked.
		now, _, err := d.look()
		if err != nil {
			return err
		}
		if now.Status == InProgress {
			return fmt.Errorf("job %s is still running, or another run is delivering its results", k.Job)
		}
		done = true
		r := newResults(d.base(), now.Job, now.Status, now.Ended, now.Checkpoints)
		had := r.unkept()
		if err := r.keep(ctx, keep); err != nil {
			return &UndeliveredError{k.Job, k.Dir, err}
		}
		if !had || !r.Empty() {
			if err := f(ctx, r); err != nil {
				return &UndeliveredError{k.Job, k.Dir, err}
			}
		}
		return (&workspace{dir: d.dir}).remove()
	})
	if err == nil && !done {
		err = fmt.Errorf("%s: %w", k.Job, ErrNoJob)
	}
	return err
}

// A folder is one of a job's. It is open as long as it is looked at.
type folder struct {
	dir  string
	file *os.File
}

func (f *folder) base() string { return filepath.Join(f.dir, "ml") }

// gone reports whether another run has removed the folder since it was opened.
func (f *folder) gone() bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.file.Fd()), &st) == nil && st.Nlink == 0
}

// eachFolder calls do for each folder of this user's jobs in parent.
func eachFolder(parent string, do func(*folder) error) error {
	found, err := os.ReadDir(parent) // no pattern: the folder's name may be one
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range found {
		if !strings.HasPrefix(e.Name(), workPrefix) {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		f, oerr := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
		if oerr != nil {
			continue // another user's, or gone
		}
		var st unix.Stat_t
		if unix.Fstat(int(f.Fd()), &st) == nil && int(st.Uid) == os.Geteuid() {
			err = errors.Join(err, do(&folder{dir, f}))
		}
		f.Close()
	}
	return err
}

// look tells what is in the folder, and whether that is to be kept. The folder of a job
// that does not run is locked as long as it is open.
func (f *folder) look() (k Kept, keep bool, err error) {
	rec, err := readRecord(f.dir)
	if err != nil && !noRecord(err) {
		return k, false, err
	}
	if rec == nil { // of a run that was killed as it began
		rec = &record{Job: filepath.Base(f.dir)}
	}
	k = Kept{Job: rec.Job, Dataset: rec.Dataset, Dir: f.dir, To: rec.To, Drop: rec.Drop, Checkpoints: rec.Checkpoints, Status: rec.Status, Reason: rec.Reason, Started: rec.Started, Ended: rec.Ended}
	free, err := f.free(rec.Status != "")
	if err != nil {
		return k, false, err
	}
	if !free {
		k.Status = InProgress
		return k, true, nil
	}
	if err := gather(f.dir, func(error) {}); err != nil {
		return k, false, err
	}
	if k.Status == "" {
		k.Status, k.Reason = Stopped, killed
		if e, ok := readExit(f.dir); ok && !e.stopped { // the command has lived to its end
			res := result(e.status, f.base())
			k.Status, k.Reason = res.Status, res.Reason
		}
		if info, err := os.Stat(f.base()); err == nil {
			k.Ended = info.ModTime()
		}
	}
	r := newResults(f.base(), k.Job, k.Status, k.Ended, k.Checkpoints)
	return k, r.unkept() || !rec.Drop && !r.Empty(), nil
}

// free reports whether nobody works in the folder.
func (f *folder) free(ended bool) (bool, error) {
	if !ended { // else the process may live on for other things
		fate, err := new(fsys.Calls).FateOf(f.file, strings.TrimPrefix(filepath.Base(f.dir), workPrefix))
		if err != nil || fate != fsys.Dead {
			return false, err
		}
		if running, err := f.running(); err != nil || running {
			return false, err
		}
	}
	for try := 0; ; try++ {
		_, err := new(fsys.Calls).TryLock(f.file)
		switch {
		case err == nil:
			return true, nil
		case !errors.Is(err, fsys.ErrLocked):
			return false, err
		case try == 10:
			return false, nil
		}
		time.Sleep(20 * time.Millisecond) // one that only looks holds it for a moment
	}
}

// running reports whether anything of the job runs: what it has to save it may be saving
// still.
func (f *folder) running() (bool, error) {
	hosts, err := hostDirs(f.dir)
	if err != nil {
		return false, err
	}
	for _, dir := range append([]string{f.dir}, hosts...) {
		file, err := os.Open(filepath.Join(dir, runningName))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		_, err = new(fsys.Calls).TryLock(file)
		file.Close()
		switch {
		case errors.Is(err, fsys.ErrLocked):
			return true, nil
		case err != nil:
			return false, err
		}
	}
	return false, nil
}

// removeLeftovers removes the folders of killed runs of this user in parent, and all
// plaintext but the results from those that have some.
func removeLeftovers(parent string, logf func(string, ...any)) {
	err := eachFolder(parent, func(f *folder) error {
		k, keep, err := f.look()
		switch {
		case err != nil && f.gone():
			return nil
		case err != nil || k.Status == InProgress:
			return err
		case keep:
			logf("job %s has left results in %s that were not delivered: \"jobs local\" lists such jobs", k.Job, k.Dir)
			return (&workspace{dir: f.dir, base: f.base()}).strip()
		}
		return (&workspace{dir: f.dir}).remove()
	})
	if err != nil {
		logf("cannot clean up the folders of earlier jobs in %s: %v", parent, err)
	}
}
