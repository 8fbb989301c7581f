package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// outputOf is where SageMaker puts what a job has made, below an output location.
func outputOf(uri, job string) string { return strings.TrimSuffix(uri, "/") + "/" + job + "/output" }

var errNoPlace = errors.New("local: no results, no place in S3, or nobody to warn")

// PutTo stores the results in S3, unencrypted but for what S3 does, where SageMaker would:
// as JOB/output/model.tar.gz and output.tar.gz. Checkpoints without a place of their own
// become objects beside them. It returns that folder.
func PutTo(ctx context.Context, r *Results, open Buckets, to Destination, warn func(error)) (string, error) {
	if err := given.Check(ctx, r != nil && warn != nil && to.S3 != "", errNoPlace); err != nil {
		return "", err
	}
	p, err := open.at(ctx, outputOf(to.S3, r.Job), to.KMSKey)
	if err != nil {
		return "", err
	}
	items := r.archives()
	if !r.apart {
		checkpoints, err := r.checkpointFiles(warn)
		if err != nil {
			return "", err
		}
		items = append(items, checkpoints...)
	}
	for _, it := range items {
		if err := p.Put(ctx, p.key+it.name, func(w io.Writer) error { return it.write(while(ctx, w)) }); err != nil {
			return "", fmt.Errorf("%s%s: %w", p.uri, it.name, err)
		}
	}
	return p.uri, nil
}

// PutCheckpoints stores the checkpoints in S3, but for those that are there from while the job
// was running. What is there of others stays, as SageMaker leaves it.
func PutCheckpoints(ctx context.Context, r *Results, open Buckets, to Destination, warn func(error)) error {
	if err := given.Check(ctx, r != nil && warn != nil && to.S3 != "", errNoPlace); err != nil {
		return err
	}
	p, err := open.at(ctx, to.S3, to.KMSKey)
	if err != nil {
		return err
	}
	items, err := r.checkpointFiles(warn)
	if err != nil {
		return err
	}
	for _, it := range items {
		name := strings.TrimPrefix(it.name, checkpointsName+"/")
		info, err := os.Lstat(filepath.Join(r.base, filepath.FromSlash(it.name)))
		if err != nil {
			return err
		}
		if at, ok := r.stored[name]; ok && at == stampOf(info) {
			continue
		}
		if err := p.Put(ctx, p.key+name, func(w io.Writer) error { return it.write(while(ctx, w)) }); err != nil {
			return fmt.Errorf("%s%s: %w", p.uri, name, err)
		}
	}
	return nil
}

// A stamp tells a file from what it was before it was written to.
type stamp struct {
	size    int64
	changed time.Time
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime()} }

// lookEvery is how often the files of checkpoints are looked at by default.
const lookEvery = 10 * time.Second

// A syncer stores checkpoints in S3 while the job runs, as SageMaker does: what is new or has
// changed is copied, and what was removed stays. A file is stored once two looks have seen it
// the same; links are stored at the end only. What cannot be stored is tried again at the next
// look, and at the end, where it decides whether the job's checkpoints are delivered.
type syncer struct {
	to     *prefix
	logf   func(string, ...any)
	dirs   []string           // of the hosts
	known  []map[string]stamp // by host: files that need not be stored
	seen   []map[string]stamp // by host: at the last look
	stored map[string]stamp   // what is in S3, of which file
	told   string             // the last error
}

// newSyncer begins with what is in the folders: it comes from there.
func (r *run) newSyncer(ctx context.Context) (*syncer, error) {
	to, err := r.Buckets.at(ctx, r.Checkpoints.S3, r.Checkpoints.KMSKey)
	if err != nil {
		return nil, err
	}
	s := &syncer{to: to, logf: r.Logf, stored: map[string]stamp{}}
	for i, h := range r.cluster.hosts {
		s.dirs = append(s.dirs, filepath.Join(h.base(), checkpointsName))
		s.known, s.seen = append(s.known, map[string]stamp{}), append(s.seen, map[string]stamp{})
		err := s.walk(i, func(name string, at stamp) error {
			s.known[i][name] = at
			if i == 0 {
				s.stored[name] = at
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// walk calls f for each file of a host. What goes away meanwhile is passed over.
func (s *syncer) walk(host int, f func(name string, at stamp) error) error {
	return filepath.WalkDir(s.dirs[host], func(file string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		rel, rerr := filepath.Rel(s.dirs[host], file)
		if err := errors.Join(err, rerr); err != nil {
			return err
		}
		return f(filepath.ToSlash(rel), stampOf(info))
	})
}

// keepStoring stores checkpoints in S3, if that is their place, until the function that it
// returns is called, which returns what is there.
func (r *run) keepStoring(ctx context.Context) (stop func() map[string]stamp, err error) {
	if r.Checkpoints.S3 == "" {
		return func() map[string]stamp { return nil }, nil
	}
	s, err := r.newSyncer(ctx)
	if err != nil {
		return nil, err
	}
	return s.run(ctx, cmp.Or(r.LookEvery, lookEvery)), nil
}

// run stores what it finds until the function that it returns is called.
func (s *syncer) run(ctx context.Context, every time.Duration) (stop func() map[string]stamp) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	wait := workers.Beside(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(every):
			}
			if err := s.look(ctx); err != nil && ctx.Err() == nil && err.Error() != s.told {
				s.told = err.Error()
				s.logf("warning: checkpoints are not in %s yet: %v", s.to.uri, err)
			}
		}
	})
	return func() map[string]stamp {
		cancel()
		wait()
		return s.stored
	}
}

// look stores the files that have changed and are at rest.
func (s *syncer) look(ctx context.Context) error {
	var errs []error
	for host := range s.dirs {
		now := map[string]stamp{}
		err := s.walk(host, func(name string, at stamp) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			now[name] = at
			if at == s.known[host][name] || at != s.seen[host][name] {
				return nil
			}
			if other, ok := s.stored[name]; ok && len(s.dirs) > 1 && other.changed.After(at.changed) {
				return nil // another host's is newer
			}
			if err := s.store(ctx, host, name, at); err != nil && len(errs) < 3 {
				errs = append(errs, err)
			}
			return nil
		})
		s.seen[host] = now
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var errMoves = errors.New("the file changes while it is read")

// store stores one file. If it changes meanwhile, nothing is stored: the next look finds it.
func (s *syncer) store(ctx context.Context, host int, name string, at stamp) error {
	err := s.to.Put(ctx, s.to.key+name, func(w io.Writer) error {
		f, err := os.Open(filepath.Join(s.dirs[host], filepath.FromSlash(name)))
		if err != nil {
			return errMoves
		}
		defer f.Close()
		if _, err := io.Copy(while(ctx, w), f); err != nil {
			return err
		}
		if info, err := f.Stat(); err != nil || stampOf(info) != at {
			return errMoves
		}
		return nil
	})
	switch {
	case errors.Is(err, errMoves):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", path.Base(name), err)
	}
	s.known[host][name], s.stored[name] = at, at
	return nil
}
