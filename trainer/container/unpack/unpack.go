// Package unpack opens the packs of a training channel in place.
package unpack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/packs"
	"github.com/vaultpack/vaultpack/internal/place"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// Options specify how to open a folder.
type Options struct {
	// Name is a path element that distinguishes the records of several folders in one
	// store. It is required.
	Name string
	// Partial reports whether the folder has only a share of the packs, with whole
	// files in each. The missing packs belong to other hosts.
	Partial bool
	// Tars leaves the small files in their tars, one for each pack:
	// "<dataset>-000000.tar" and so on, without files that are not in this
	// version.
	Tars bool
	// Removed is called for everything else that was in the folder and was removed. It is
	// called from one goroutine.
	Removed func(path string)
}

// A Result says what [Job.Run] did, or how far it came before an error.
type Result struct {
	Files, Bytes int64 // written
	Packs        int64 // opened
	Done         int64 // packs that an earlier run had opened
	Absent       int64 // packs that belong to other hosts
}

// A Job turns a folder that holds copies of a version's packs, as "<object
// ID>.vpk", into one that holds exactly the version's files. It works pack by
// pack: it writes the files of a pack to a private folder, compares the pack with
// its pin, moves the files into place, and removes the pack. So it needs little
// more space than the packs in progress.
//
// Progress is recorded in the vault's store, sealed like the records of an
// unfinished upload: a run that was killed at any moment is continued, and a
// finished run is recognized. A file counts as done only if it is recorded and, by
// inode and change time, has not been touched since. Anything else in the folder is
// removed and reported to Removed, since whoever put it there is not trusted.
//
// Nothing is synced to disk: the folder need not outlive the machine.
type Job struct {
	opts Options
	counters

	version *dataset.Version
	packs   *objects.Set // reads packs from the private folder
	root    *os.Root
	lock    *os.File
	room    Room
	private string // the folder for packs and files being written, in root
	state   map[envelope.ObjectID]*packState
	done    *record
	large   largeFiles
	folders []*tree.Entry // in the order of their paths
	loose   []*tree.Entry // links, and files without a pack
	held    []*tree.Entry // the whole index, unless it is large
}

// counters holds a Result while it is being counted.
type counters struct{ Files, Bytes, Packs, Done, Absent atomic.Int64 }

func (c *counters) result() Result {
	return Result{Files: c.Files.Load(), Bytes: c.Bytes.Load(), Packs: c.Packs.Load(), Done: c.Done.Load(), Absent: c.Absent.Load()}
}

// privatePrefix begins the name of the folder in which a Job works. The rest
// is random and recorded only in sealed form, so that somebody who can place files
// in the folder before it is opened cannot place any in there.
const privatePrefix = ".vaultpack-open-"

// Prepare determines what to do: it moves the packs aside, removes what does not
// belong in dir, and returns an error if a pack is missing. It opens nothing yet. The
// caller must close the Job.
func Prepare(ctx context.Context, v *dataset.Version, dir string, opts Options) (*Job, error) {
	if err := jobs.Check(ctx, v); err != nil {
		return nil, err
	}
	u := &Job{opts: opts}
	if err := u.prepare(ctx, v, dir); err != nil {
		u.Close()
		return nil, objects.Of(v).Because(err)
	}
	return u, nil
}

func (u *Job) prepare(ctx context.Context, v *dataset.Version, dir string) (err error) {
	if err := u.open(v, dir); err != nil {
		return err
	}
	if u.lock, err = u.root.Open("."); err != nil {
		return err
	}
	// Without locks, another process cannot be detected.
	if _, err := new(fsys.Calls).TryLock(u.lock); errors.Is(err, fsys.ErrLocked) {
		return fmt.Errorf("another vaultpack is opening %s: %w", dir, err)
	} else if err != nil {
		return err
	}
	if u.done, err = u.readRecords(ctx); err != nil {
		return err
	}
	if u.private = u.done.private; u.private == "" {
		u.private = privatePrefix + rand.Text()
	}
	if err := u.sweep(ctx); err != nil {
		return fmt.Errorf("looking through %s: %w", dir, err)
	}
	return u.survey(ctx)
}

// Close closes the folder.
func (u *Job) Close() {
	if u == nil {
		return
	}
	if u.root != nil {
		u.root.Close()
	}
	if u.lock != nil {
		u.lock.Close()
	}
}

// Run writes the files. It returns an error unless the folder then holds everything
// that it should. To continue after an error, call [Prepare] and Run again.
func (u *Job) Run(ctx context.Context) (Result, error) {
	if u == nil || u.lock == nil {
		return Result{}, errNotPrepared
	}
	if err := jobs.Check(ctx, u.version); err != nil {
		return Result{}, err
	}
	err := objects.Of(u.version).During(ctx, func(ctx context.Context) error {
		if err := u.run(ctx); err != nil {
			return err
		}
		return u.finish(ctx)
	})
	return u.result(), err
}

// errNotPrepared is returned for a Job that does not come from Prepare.
var errNotPrepared = errors.New("container: this job was not prepared")

func (u *Job) open(v *dataset.Version, dir string) (err error) {
	if dataset.CheckName(u.opts.Name) != nil {
		return fmt.Errorf("%q cannot name a folder's records", u.opts.Name)
	}
	u.version = v
	if u.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	u.packs = objects.Of(v).Over(packStore{objects.Of(v).Vault.Store, u})
	u.state = map[envelope.ObjectID]*packState{}
	u.large.files = map[string]*largeFile{}
	return nil
}

// run passes each pack to a worker, once everything in it has been found.
func (u *Job) run(ctx context.Context) error {
	n := objects.PackReaders()
	idle := make(chan *unpacker, n)
	defer func() {
		for len(idle) > 0 {
			(<-idle).close()
		}
	}()
	for i := range n {
		w, err := u.newWorker(i)
		if err != nil {
			return err
		}
		idle <- w
	}
	return workers.Run(ctx, n, func(ctx context.Context, g *workers.Group) error {
		return u.deal(ctx, func(pieces []packs.Piece) {
			g.Go(func() error {
				w := <-idle // there are as many workers as can run at once
				defer func() { idle <- w }()
				return w.pack(ctx, pieces)
			})
		})
	})
}

// deal collects the pieces of each pack, in the order of the index, and makes the
// folders for them.
func (u *Job) deal(ctx context.Context, give func([]packs.Piece)) error {
	pending := map[envelope.ObjectID][]packs.Piece{}
	to := place.NewDest(u.root, 0, &u.Bytes) // nothing is staged
	defer to.CloseLast()
	for _, e := range u.folders {
		if u.opts.Tars {
			break
		}
		if err := to.MakeFolder(e); err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
	}
	for e, err := range u.entries(ctx) {
		if err != nil {
			return err
		}
		if len(e.Extents) > 1 {
			if err := u.large.add(ctx, u, e); err != nil {
				return err
			}
		}
		for _, x := range e.Extents {
			id := x.Pack.ID
			s := u.state[id]
			if s.done || !s.there {
				continue
			}
			pending[id] = append(pending[id], packs.Piece{Entry: e, Extent: x})
			if len(pending[id]) < s.pieces {
				continue
			}
			give(pending[id])
			delete(pending, id)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// finish makes entries without a pack, and removes what belongs to the Job.
func (u *Job) finish(ctx context.Context) error {
	last, err := u.privateFolder("last")
	if err != nil {
		return err
	}
	defer last.Close()
	to := place.NewDest(u.root, int(last.Fd()), &u.Bytes)
	defer to.CloseLast()
	for _, e := range u.loose {
		if e.IsLink() {
			err = to.PlaceLink(e)
		} else {
			err = to.PlaceEmpty(e)
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
	}
	if err := u.root.RemoveAll(u.private); err != nil {
		return fmt.Errorf("removing what is left of the packs: %w", err)
	}
	if u.opts.Tars {
		return ctx.Err()
	}
	// Each folder after everything in it.
	var failed error
	for _, e := range slices.Backward(u.folders) {
		if _, err := to.CloseFolder(e); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%q: %w", e.Path, err))
		}
	}
	return errors.Join(failed, ctx.Err())
}

// privateFolder makes and opens a folder inside the private one.
func (u *Job) privateFolder(name string) (*os.File, error) {
	path := u.private
	for _, elem := range []string{"", name} {
		if elem != "" {
			path += "/" + elem
		}
		if err := u.root.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return u.root.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}
