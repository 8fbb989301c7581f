package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/restore"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/vault"
)

// checkpointsName is the job's folder for checkpoints, and the folder in a dataset that
// they are sealed in.
const checkpointsName = "checkpoints"

// resumedName is the folder that checkpoints of an earlier job are brought to. They become
// the job's own when all of them are there: part of them is never taken for what it has made.
const resumedName = "resumed"

var (
	// ErrPlaceTaken is returned if another job of this user runs with the same place for
	// checkpoints, or has checkpoints that were not delivered there.
	ErrPlaceTaken = errors.New("the place for checkpoints is taken by another job")
	// ErrNotCheckpoints is returned if the dataset for checkpoints has other files.
	ErrNotCheckpoints = errors.New("the dataset has files that are not checkpoints of a job")
	// ErrOtherCheckpoints is returned if another job has kept checkpoints after this job
	// chose the ones to resume from.
	ErrOtherCheckpoints = errors.New("other checkpoints have been kept meanwhile")
)

// Resume opens the place where the job's checkpoints are kept, and chooses the newest
// checkpoints that an earlier job has left there. While another job has the place, it
// returns [ErrPlaceTaken]. The job must then be closed.
func (j *Job) Resume(ctx context.Context, v *vault.Vault, at Destination) error {
	ok := j != nil && v != nil && v.Store != nil && v.Keys != nil && at != (Destination{})
	if err := given.Check(ctx, ok, errors.New("local: a nil Job, no place, or a vault without a store or keys")); err != nil {
		return err
	}
	j.Checkpoints = at
	all, err := List(j.Dir)
	if err != nil {
		return err
	}
	for _, k := range all {
		if err := j.checkPlace(&k); err != nil {
			return err
		}
	}
	if at.Dataset == "" {
		return nil
	}
	d, err := dataset.Open(v, at.Dataset)
	if err != nil {
		return err
	}
	j.Saved = &Sealed{Channel: checkpointsName, Dataset: d}
	if j.Saved.Version, err = newest(ctx, d); err != nil {
		return err
	}
	if j.Saved.Version == nil {
		return nil
	}
	if err := j.Saved.Version.CheckComplete(); err != nil {
		return err
	}
	for e, err := range j.Saved.Version.Entries(ctx) {
		if err != nil {
			return err
		}
		if e.Path != "" && e.Path != checkpointsName && !strings.HasPrefix(e.Path, checkpointsName+"/") {
			return fmt.Errorf("%s: %w, such as %q", at.Dataset, ErrNotCheckpoints, e.Path)
		}
	}
	return nil
}

// newest is the newest version of a dataset, nil where there is none.
func newest(ctx context.Context, d *dataset.Dataset) (*dataset.Version, error) {
	v, err := d.Latest(ctx)
	if errors.Is(err, dataset.ErrUnknownDataset) {
		return nil, nil
	}
	return v, err
}

// resume brings what an earlier job has left to every host.
func (r *run) resume(ctx context.Context) error {
	first := filepath.Join(r.cluster.hosts[0].dir, resumedName)
	if err := r.fetchCheckpoints(ctx, first); err != nil {
		return err
	}
	warn := func(err error) { r.Logf("warning: %v", err) }
	for _, h := range r.cluster.hosts[1:] {
		to := filepath.Join(h.dir, resumedName, checkpointsName)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := copyOut(ctx, warn, filepath.Join(first, checkpointsName), ".", to); err != nil {
			return err
		}
	}
	for _, h := range r.cluster.hosts {
		if err := h.resumeFrom(); err != nil {
			return err
		}
	}
	return nil
}

// fetchCheckpoints brings what an earlier job has left to a folder.
func (j *Job) fetchCheckpoints(ctx context.Context, to string) error {
	if err := os.MkdirAll(filepath.Join(to, checkpointsName), 0o755); err != nil {
		return err
	}
	warn := func(err error) { j.Logf("warning: %v", err) }
	if j.Checkpoints.S3 != "" {
		p, err := j.Buckets.at(ctx, j.Checkpoints.S3, j.Checkpoints.KMSKey)
		if err != nil {
			return err
		}
		return download(ctx, p, filepath.Join(to, checkpointsName), files(ctx, p, p.uri, p.key))
	}
	if j.Checkpoints.Folder != "" {
		return copyOut(ctx, warn, j.Checkpoints.Folder, ".", filepath.Join(to, checkpointsName))
	}
	if j.Saved == nil || j.Saved.Dataset == nil {
		return errors.New("local: a dataset for checkpoints that Resume has not opened")
	}
	now, err := newest(ctx, j.Saved.Dataset)
	switch {
	case err != nil:
		return err
	case (now == nil) != (j.Saved.Version == nil) || now != nil && now.Digest() != j.Saved.Version.Digest():
		return fmt.Errorf("%s: %w; start the job again", j.Checkpoints.Dataset, ErrOtherCheckpoints)
	case now == nil:
		return nil
	}
	_, err = restore.Run(ctx, j.Saved.Version, to, restore.Options{})
	return err
}

// resumeFrom makes what was fetched the host's own.
func (h *host) resumeFrom() error {
	own := filepath.Join(h.base(), checkpointsName)
	if err := os.Remove(own); err != nil { // it is empty
		return err
	}
	if err := os.Rename(filepath.Join(h.dir, resumedName, checkpointsName), own); err != nil {
		return err
	}
	return removeTree(filepath.Join(h.dir, resumedName))
}

// checkPlace returns an error that wraps ErrPlaceTaken where another of the jobs has the
// place for checkpoints.
func (j *Job) checkPlace(k *Kept) error {
	if j.Checkpoints == (Destination{}) || k.Checkpoints != j.Checkpoints {
		return nil
	}
	return fmt.Errorf("%w: job %s (%s) in %s", ErrPlaceTaken, k.Job, k.Status, k.Dir)
}

// unkept reports whether there are checkpoints that are to be kept apart from the results.
func (r *Results) unkept() bool { return r.apart && !isEmpty(r.checkpoints()) }

// keep passes the checkpoints to f, and removes them here if that returns nil.
func (r *Results) keep(ctx context.Context, f func(context.Context, *Results) error) error {
	if !r.unkept() {
		return nil
	}
	if f == nil {
		return errors.New("nothing brings the checkpoints to their place")
	}
	if err := f(ctx, r); err != nil {
		return err
	}
	return discard(r.checkpoints())
}

// CopyCheckpoints copies the checkpoints to a folder, unencrypted. Other files in the
// folder stay.
func CopyCheckpoints(ctx context.Context, r *Results, dir string, warn func(error)) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return copyOut(ctx, warn, r.checkpoints(), ".", dir)
}

// SealCheckpoints makes the checkpoints the next version of a dataset, as [Seal] does with
// the results.
func SealCheckpoints(ctx context.Context, r *Results, d *dataset.Dataset, warn func(error)) (*dataset.Version, error) {
	items, err := r.checkpointFiles(warn)
	if err != nil {
		return nil, err
	}
	return seal(ctx, d, "train-local-checkpoints "+r.Job, items, warn)
}
