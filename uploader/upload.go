// Package uploader seals a tree of files into a dataset. The path of a byte:
// the walker finds a file, the planner decides whether the vault has it already
// and else which pack it goes to, a pack worker reads it and seals it into the
// vault, and the finisher enters it in the index, in order, and commits the
// version. A checkpoint records finished packs on the way, so that an
// interrupted upload goes on from there.
package uploader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/workers"
	"github.com/vaultpack/vaultpack/vault"
)

// DefaultPackSize is how much plaintext a pack holds at most, in bytes.
const DefaultPackSize = 128 << 20

// MinPackSize is the least that an Upload's PackSize may be.
const MinPackSize = 4 << 10

// An Upload brings one source into one dataset. It is used once.
type Upload struct {
	Dataset *dataset.Dataset
	// Source is a folder or a file.
	Source string
	Filter *Filter
	// Links says what becomes of symbolic links.
	Links Links
	// AllowEmpty lets a source without files, or an empty stream, take the place of
	// a version that has some.
	AllowEmpty bool
	// Own are files and folders of vaultpack's that may lie below the source: the
	// vault and the keys. They are skipped.
	Own []string
	// PackSize is the plaintext of a pack in bytes; 0 is DefaultPackSize.
	PackSize int64
	// Memory bounds what the upload takes of memory, in bytes; 0 is DefaultMemory.
	// The least that it needs is some 200 MiB.
	Memory int64
	// Concurrency is how many packs are written at once; 0 lets the cores and the
	// memory decide.
	Concurrency int
	// Checksum compares files by their SHA-256, not by size and time, and
	// records it in the index.
	Checksum bool
	// Resend are packs that are taken for lost, because they are damaged: what lies in
	// them is sent again, as far as it is in the source.
	Resend []envelope.ObjectID
	// DryRun only finds out what would be done. It reads no file that the run
	// would only read to send it, and writes nothing. The usage of
	// the run that is planned is told by the Result's Vault.
	DryRun bool
	// Failed is told each file that could not be read, and Skipped each that is
	// no file, folder or link. Warn is told what does no harm. They may be called
	// from several goroutines.
	Failed  func(path string, err error)
	Skipped func(path, kind string)
	Warn    func(err error)

	Stats

	used    atomic.Bool
	fails   dataset.Failures
	given   *dataset.Dataset // the caller's, while a dry run has a plan in its place
	key     *envelope.DataKey
	lease   *dataset.Lease
	prev    *dataset.Version
	pending *dataset.Pending
	source  string
	host    string
	check   *checkpointer
	out     []string // some of the links that lead out of the source
	// segments is how many of a pack are sealed at once.
	segments int
	// packs are those in the vault, with their sealed sizes in bytes.
	packs     map[envelope.ObjectID]int64
	elsewhere *elsewhere
	mu        sync.Mutex
	lost      map[envelope.ObjectID]bool // packs that have been told to be missing
	unknown   int64                      // paths that the walk could not look at, and of which nothing is kept
}

// Stats counts what an Upload does. It may be read at any time.
type Stats struct {
	Files, Bytes               atomic.Int64 // found
	UnchangedFiles, SameBytes  atomic.Int64 // already in the last version
	ResumedFiles, ResumedBytes atomic.Int64 // already sent by an unfinished upload
	SentFiles, SentBytes       atomic.Int64 // read and sealed
	Packs, SealedBytes         atomic.Int64 // written to the vault
	ResentFiles                atomic.Int64 // unchanged, and sent again with their sample
	Added, Changed, Removed    atomic.Int64 // files, against the last version
	Failures, Specials         atomic.Int64
	KeptLinks, LinksOut        atomic.Int64 // symbolic links sealed as such, and those of them that lead out of the source
}

// A Result says how an Upload ended.
type Result struct {
	// Version is the version that now holds the source, the last one if nothing
	// has changed; nil after a dry run.
	Version *dataset.Version
	// Committed tells whether a version was made, or after a dry run would be.
	Committed bool
	// Vault is the dataset's, whose Usage tells what the run has asked of services. After
	// a dry run it is a plan, which tells what the run would ask.
	Vault *vault.Vault
}

// Run uploads the source. Files that cannot be read are told to Failed, and the
// rest is uploaded. If it returns an error, or the process dies, no version has
// been made, and the same upload again goes on from what is recorded.
//
// If files could not be read, it returns the result and a *dataset.PartialError that
// wraps why: the version holds the rest.
func (u *Upload) Run(ctx context.Context) (*Result, error) {
	defer u.giveBack()
	res, err := u.run(ctx)
	if err != nil {
		return nil, err
	}
	u.checkResent()
	res.Vault = u.Dataset.Vault()
	return res, u.fails.Err("upload")
}

// giveBack ends a dry run, which works on a plan of its own.
func (u *Upload) giveBack() {
	if u.given != nil {
		u.Dataset.Close()
		u.Dataset, u.given = u.given, nil
	}
}

func (u *Upload) run(ctx context.Context) (*Result, error) {
	if ctx == nil {
		return nil, errors.New("uploader: a nil context")
	}
	defer u.end(ctx)
	if err := u.prepare(ctx); err != nil {
		return nil, err
	}
	ctx = u.lease.Context()
	fin := newFinisher(u)
	if err := u.send(ctx, fin); err != nil {
		u.check.interrupted(ctx)
		return nil, err
	}
	res, err := fin.commit(ctx)
	if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && cause != nil {
		err = cause
	}
	return res, err
}

// send brings the source into the vault and into the index. The first error of any of
// those at work ends the context of all; whoever waits for another looks at it too.
func (u *Upload) send(ctx context.Context, fin *finisher) error {
	packs := u.check.lag
	return workers.Run(ctx, packs+2, func(ctx context.Context, g *workers.Group) error {
		jobs := make(chan *job)
		windows := make(chan []*item, 2)
		// First of all: whoever is started after it ends with it.
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

// DefaultMemory is what an upload takes of memory at most, in bytes.
const DefaultMemory = 512 << 20

// MinMemory is the least that an Upload needs of memory, in bytes, beside what a
// store buffers for an object.
const MinMemory = otherMemory + segmentMemory

const (
	// otherMemory is for all but the packs under way: the program, the index and
	// the files between the walk and the index.
	otherMemory = 192 << 20
	// segmentMemory is what a segment that is being sealed takes, with what waits
	// for its turn behind it.
	segmentMemory = 4 << 20
	maxPacks      = 8
)

// limits are how many packs are written at once, and how many segments of each
// are sealed at once, within the memory and on all cores.
func (u *Upload) limits() (packs, segments int) {
	cores := runtime.GOMAXPROCS(0)
	want := u.Concurrency
	if want == 0 {
		want = min(max(2, cores), maxPacks)
	}
	put := int64(0) // what the store buffers for an object
	if s, ok := vault.As[vault.Buffered](u.Dataset.Vault().Store); ok {
		put = s.PutMemory()
	}
	room := max(u.Memory-otherMemory, 0)
	packs = int(max(min(int64(want), room/(put+segmentMemory)), 1))
	// Twice as many segments as cores, so that none idles while packs begin and end.
	segments = int(max(min(int64(2*cores/packs), (room/int64(packs)-put)/segmentMemory), 1))
	return packs, segments
}

// prepare names the source, and opens the dataset.
func (u *Upload) prepare(ctx context.Context) (err error) {
	abs, err := filepath.Abs(u.Source)
	if err != nil {
		return err
	}
	if _, err := os.Stat(abs); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist", u.Source)
	}
	u.host = hostID()
	u.source = hashed("source", u.host+"\x00"+abs)
	if err := u.open(ctx); err != nil {
		return err
	}
	packs, segments := u.limits()
	u.segments = segments
	u.check = newCheckpointer(u.lease, u.key, packs)
	return nil
}

// open checks the options, begins the upload in the vault, reads the last version and
// what unfinished uploads have recorded, and gets the data key. Whoever calls it calls
// end afterwards, whatever has happened.
func (u *Upload) open(ctx context.Context) (err error) {
	switch {
	case ctx == nil:
		return errors.New("uploader: a nil context")
	case u.Dataset == nil || u.Dataset.Vault() == nil:
		return errors.New("uploader: a dataset that was not opened in a vault")
	case u.used.Swap(true):
		return errors.New("uploader: this upload has been run already; make another one")
	}
	if u.Memory < 0 || u.PackSize < 0 || u.Concurrency < 0 {
		return errors.New("uploader: a bound below zero; 0 lets the upload choose")
	}
	if u.Memory == 0 {
		u.Memory = DefaultMemory
	}
	if u.PackSize == 0 {
		u.PackSize = DefaultPackSize
	}
	if u.PackSize < MinPackSize {
		return fmt.Errorf("a pack size of %d bytes is below the least, %d", u.PackSize, MinPackSize)
	}
	if u.Failed == nil {
		u.Failed = func(string, error) {}
	}
	if u.Skipped == nil {
		u.Skipped = func(string, string) {}
	}
	if u.Warn == nil {
		u.Warn = func(error) {}
	}
	if u.DryRun {
		u.given = u.Dataset
		u.Dataset = u.given.Plan()
	}
	if u.lease, err = u.Dataset.Lease(ctx, u.source); err != nil {
		return err
	}
	u.prev, u.pending = u.lease.Previous(), u.lease.Pending()
	for _, err := range u.pending.Unreadable {
		u.Warn(fmt.Errorf("a record of an unfinished upload cannot be used, so what it names is sent again: %w", err))
	}
	if err := u.Dataset.SweepUnfinished(ctx); err != nil {
		u.Warn(err)
	}
	if u.prev != nil || !u.pending.Empty() {
		if u.packs, err = u.Dataset.Packs(ctx); err != nil {
			return err
		}
		for _, id := range u.Resend {
			delete(u.packs, id)
		}
	}
	u.elsewhere = newElsewhere(u)
	switch none := (envelope.KeyID{}); {
	case u.prev != nil:
		u.key, err = u.Dataset.Key(ctx, u.prev.KeyID)
	case u.pending.KeyID != none:
		u.key, err = u.Dataset.Key(ctx, u.pending.KeyID)
	default:
		u.key, err = u.lease.NewKey(ctx)
	}
	return err
}

// end ends the upload in good order, whatever has become of it.
func (u *Upload) end(ctx context.Context) {
	if u.lease == nil {
		return
	}
	if err := u.lease.End(ctx); err != nil {
		u.Warn(err)
	}
}

func (u *Upload) fail(path string, err error) {
	u.Failures.Add(1)
	if path == "" {
		path = "."
	}
	u.fails.Add(&dataset.FileError{Path: path, Err: err})
	u.Failed(path, err)
}

// ownNames are the files and folders that are never sealed, whether or not the caller
// has named them.
func (u *Upload) ownNames() []string {
	if u.Dataset == nil || u.Dataset.Vault() == nil {
		return u.Own
	}
	v := u.Dataset.Vault()
	names := append(slices.Clone(u.Own), v.Location)
	if v.Keys != nil {
		names = append(names, v.Keys.Names...)
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" || strings.Contains(name, "://") })
}

func (u *Upload) skip(path, kind string) {
	u.Specials.Add(1)
	u.Skipped(path, kind)
}

// hostID tells one machine's records of inodes and times from another's. It is
// hashed, so that the index does not tell the machine's name.
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
