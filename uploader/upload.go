// Package uploader seals a tree of files, or a stream, into a dataset.
//
//	res, err := uploader.Upload(ctx, d, "./scans", uploader.Options{})
//
// The path of a byte: the walker finds a file; the planner decides whether the vault
// already has it and, if not, which pack it goes to; a pack worker reads it and
// seals it into the vault; and the finisher adds it to the index, in order, and
// commits the version. Checkpoints record finished packs meanwhile, so that an
// interrupted upload can continue from them.
package uploader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/workers"
	"github.com/vaultpack/vaultpack/vault"
)

// A Result is the result of an upload.
type Result struct {
	// Version is the version that now holds the source. It is the last version if
	// nothing has changed, and nil after a dry run.
	Version *dataset.Version
	// Committed reports whether a version was made or, after a dry run, would be made.
	Committed bool
	// Vault is the dataset's vault, whose Usage method returns what the run has used.
	// After a dry run it is a plan, whose Usage is what the run would use.
	Vault *vault.Vault
	// Stats counts what was done or, after a dry run, would be done.
	Stats Stats
	// Source has the requests that were made to the bucket that was uploaded, if it was one,
	// or would be made.
	Source vault.Requests
}

// Upload uploads a folder, or a file, to a dataset. For each file that cannot be
// read it calls Failed, and uploads the rest. If Upload returns a nil Result, or
// the process dies, no version has been made, and running the same upload again
// continues from what is recorded.
//
// If files could not be read, it returns the result and a *dataset.PartialError that
// wraps the causes: the version holds the rest.
func Upload(ctx context.Context, d *dataset.Dataset, path string, opts Options) (*Result, error) {
	return (&upload{Options: opts, dataset: d, path: path}).run(ctx)
}

// UploadStream uploads everything that it reads from r, of unknown length, to a
// dataset as its only file, with the given name. A stream cannot be read again, so an
// interrupted upload starts over. While a Read of r blocks, UploadStream does not
// return even if ctx is cancelled.
func UploadStream(ctx context.Context, d *dataset.Dataset, r io.Reader, name string, opts Options) (*Result, error) {
	if err := tree.CheckPath(name); err != nil {
		return nil, err
	}
	if r == nil {
		return nil, errors.New("uploader: a nil stream")
	}
	return (&upload{Options: opts, dataset: d, stream: newStream(r, name)}).run(ctx)
}

type packID = envelope.ObjectID

// An upload brings one source into one dataset.
type upload struct {
	Options
	counters

	dataset *dataset.Dataset // a plan in a dry run
	path    string           // of the source
	stream  *stream          // or what is read instead
	bucket  Bucket           // or whose objects are
	shard   *commit.Shard    // nil unless only a shard of a plan is uploaded
	source  string           // identifies the source on this machine in records
	host    string
	fails   jobs.Failures
	key     *envelope.DataKey
	lease   *commit.Lease
	prev    *dataset.Version
	pending *commit.Pending
	check   *checkpointer
	out     []string // some of the links that lead out of the source
	// segments is how many segments of a pack are sealed at once.
	segments int
	// packs are the packs in the vault, with their sealed sizes in bytes.
	packs     map[packID]int64
	elsewhere *elsewhere
	mu        sync.Mutex
	lost      map[envelope.ObjectID]bool // packs that were reported as missing
	unknown   int64                      // paths that the walk could not read, and below which nothing is kept
	// Objects of the bucket whose names begin with ownPrefix, if hasOwn, are the vault's.
	ownPrefix  string
	hasOwn     bool
	usedBefore vault.Requests // of the bucket, before the upload
}

func (u *upload) run(ctx context.Context) (*Result, error) {
	if err := given.Check(ctx, u.dataset != nil && u.dataset.Vault() != nil, errNoDataset); err != nil {
		return nil, err
	}
	if err := u.complete(); err != nil {
		return nil, err
	}
	if u.DryRun {
		u.dataset = u.dataset.Plan()
		defer u.dataset.Close()
	}
	if u.Progress != nil {
		u.Progress.now.Store(&u.counters)
	}
	res, err := u.make(ctx)
	if err != nil {
		return nil, err
	}
	u.checkResent()
	res.Vault, res.Stats, res.Source = u.dataset.Vault(), u.counters.stats(), u.sourceUsage()
	return res, u.fails.Err("upload")
}

// make makes the version.
func (u *upload) make(ctx context.Context) (*Result, error) {
	defer u.end(ctx)
	if err := u.name(); err != nil {
		return nil, err
	}
	if err := u.open(ctx); err != nil {
		return nil, err
	}
	packs, segments := u.limits()
	u.segments = segments
	u.check = newCheckpointer(u.lease, u.key, packs)
	ctx = u.lease.Context()
	fin := newFinisher(u)
	if err := u.send(ctx, fin); err != nil {
		u.check.interrupted(ctx)
		return nil, err
	}
	res, err := fin.commit(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && (errors.Is(err, context.Canceled) || errors.Is(cause, dataset.ErrClosed)) {
		err = cause
	}
	return res, err
}

var errNoDataset = errors.New("uploader: a dataset that was not opened in a vault")

// name checks that the source exists, and computes its name in records.
func (u *upload) name() error {
	if u.stream != nil {
		return nil // no other upload continues from what this one records
	}
	if u.bucket != nil {
		return u.nameBucket()
	}
	abs, err := filepath.Abs(u.path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(abs); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist", u.path)
	}
	u.host = hostID()
	u.source = hashed("source", u.host+"\x00"+abs)
	return nil
}

// send stores the source in the vault and adds it to the index. The first error of any
// goroutine ends the context of all; whoever waits for another goroutine also watches the
// context.
func (u *upload) send(ctx context.Context, fin *finisher) error {
	packs := u.check.lag
	return workers.Run(ctx, packs+2, func(ctx context.Context, g *workers.Group) error {
		jobs := make(chan *job)
		windows := make(chan []*item, 2)
		// This goroutine is started first, so that those started after it end with it.
		if !g.Go(func() error {
			defer close(windows)
			defer close(u.check.due)
			defer close(jobs)
			return u.plan(ctx, jobs, windows)
		}) {
			return nil // the context has ended
		}
		for range packs {
			g.Go(func() error {
				for j := range jobs {
					var file *stopped
					if j.err = u.runJob(ctx, j); j.err != nil && !errors.As(j.err, &file) {
						return j.err
					}
					close(j.done)
				}
				return nil
			})
		}
		g.Go(func() error { return u.check.run(ctx) })
		for window := range windows {
			for _, it := range window {
				if err := fin.add(ctx, it); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// open begins the upload in the vault, reads the last version and what unfinished
// uploads have recorded, and gets the data key.
func (u *upload) open(ctx context.Context) (err error) {
	if u.shard != nil {
		return u.openShard(ctx)
	}
	if u.lease, err = commit.Begin(ctx, u.dataset, u.source); err != nil {
		return err
	}
	u.prev, u.pending = u.lease.Previous(), u.lease.Pending()
	for _, err := range u.pending.Unreadable {
		u.Warn(fmt.Errorf("a record of an unfinished upload cannot be used, so what it names is uploaded again: %w", err))
	}
	if err := objects.Of(u.dataset).SweepUnfinished(ctx); err != nil {
		u.Warn(err)
	}
	if u.prev != nil || !u.pending.Empty() {
		if u.packs, err = objects.Of(u.dataset).Packs(ctx); err != nil {
			return err
		}
		for _, id := range u.Resend {
			delete(u.packs, id)
		}
	}
	u.elsewhere = newElsewhere(u)
	u.key, err = u.lease.SealingKey(ctx)
	return err
}

// end ends the upload properly, whatever its outcome.
func (u *upload) end(ctx context.Context) {
	if u.lease == nil {
		return
	}
	if err := u.lease.End(ctx); err != nil {
		u.Warn(err)
	}
}

func (u *upload) fail(path string, err error) {
	u.Failures.Add(1)
	if path == "" {
		path = "."
	}
	u.fails.Add(&dataset.FileError{Path: path, Err: err})
	u.Failed(path, err)
}

// ownNames returns the files and folders that are never sealed, even if the caller named
// them.
func (u *upload) ownNames() []string {
	v := u.dataset.Vault()
	names := append(slices.Clone(u.Own), v.Location)
	if v.Keys != nil {
		names = append(names, v.Keys.Names...)
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" || strings.Contains(name, "://") })
}

func (u *upload) skip(path, kind string) {
	u.Specials.Add(1)
	u.Skipped(path, kind)
}

// hostID distinguishes this machine's records of inodes and times from those of others.
// It is hashed, so that the index does not reveal the machine's name.
func hostID() string {
	for _, file := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if b, err := os.ReadFile(file); err == nil && len(b) > 0 {
			return hashed("host", string(b))
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return hashed("host", name)
}

func hashed(what, s string) string {
	sum := sha256.Sum256([]byte("vaultpack " + what + "\x00" + s))
	return hex.EncodeToString(sum[:16])
}
