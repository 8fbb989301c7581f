// Package ingest makes versions of a dataset from files that a program writes one by
// one. It is for services that hold records, not folders that could be uploaded.
//
//	w, err := ingest.New(ctx, d, ingest.Options{ID: "nightly"})
//	defer w.Close()
//	f, err := w.Create("2024/01/a.json", ingest.Meta{})
//	defer f.Abort()                   // does nothing after Close
//	_, err = f.Write(record)
//	err = f.Close()                   // only now is the file complete
//	version, err := w.Commit(ctx)     // and only now does a version have it
//
// Any number of files can be open at once, and written by as many goroutines. Small
// files are packed together; those of a [Sample] share a pack. Nothing is written to
// the machine's disk, and no plaintext leaves the machine.
//
// A Writer continues from the last version of the dataset: depending on its [Mode], it
// adds, replaces and removes files, and leaves everything else unchanged.
//
// # After a crash
//
// A Writer with an ID keeps a sealed record in the vault of the files that it has stored
// there. A new Writer with the same ID, on any machine, continues from the record: it has
// those files, Has reports them, and Commit makes a version of them and of whatever else
// is written. When Checkpoint returns nil, all files that had been closed when it was
// called are recorded. Only one Writer at a time may use an ID. Removals are not
// recorded, and must be repeated.
//
// # Memory
//
// Contents stay in memory until they are sealed. [Options].Memory limits that memory,
// together with everything else that a Writer does. In addition, each open file takes
// about 500 bytes and its path, and each written file about 250 bytes and its path, until
// Commit. [Options].MaxFiles limits their number. A Write or Create that would exceed the
// memory waits. It waits only for the vault, never for another goroutine of the program:
// when memory is short, the Writer takes the file that holds most of it, even a slow or
// forgotten one, and seals what was written so far as a piece. So no file blocks another,
// and one goroutine can write any number of files in any order.
package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/workers"
	"github.com/vaultpack/vaultpack/vault"
)

// Errors that callers branch on. The error for a path that is taken wraps
// fs.ErrExist; the error for a path without a file wraps dataset.ErrNoEntry.
var (
	// ErrOpen is returned by Commit if files or samples are open.
	ErrOpen = errors.New("files are still open")
	// ErrEnded is returned by every call after Commit or Close.
	ErrEnded = errors.New("the writer has ended")
	// ErrTooMany is returned by Create if the Writer has MaxFiles files. Call Commit,
	// and continue with another Writer.
	ErrTooMany = errors.New("the writer has reached its limit of files")
	// ErrSample is returned for a sample that does not fit into a pack, or into memory
	// together with the other open samples.
	ErrSample = errors.New("not enough room to keep the sample together")
	// ErrEmpty is returned by Commit if the version would have no file.
	ErrEmpty = errors.New("the version would have no file")
)

// A Mode says what a Writer does with the files of the last version.
type Mode int

const (
	// Add keeps them. An existing path cannot be created again unless it was removed.
	Add Mode = iota
	// Update keeps them, except those that are created again or removed.
	Update
	// Anew keeps none of them: the version has only what the Writer has written.
	Anew
)

// Options configure a Writer. With the zero value, it adds files to the last version, and
// loses them if it does not reach Commit.
type Options struct {
	// ID names the Writer's work, so that a later Writer can continue it. A Writer with
	// an empty ID records nothing.
	ID   string
	Mode Mode
	// AllowIncomplete continues from an incomplete version, some of whose source could
	// not be read. Otherwise New returns an error that wraps dataset.ErrIncomplete.
	// The new version is incomplete too, unless everything that is missing is written.
	AllowIncomplete bool
	// AllowEmpty lets Commit make a version without files.
	AllowEmpty bool
	// PackSize is the maximum plaintext of a pack, and of a sample, in bytes; 0
	// means DefaultPackSize, or less if the memory is short.
	PackSize int64
	// Memory limits the memory that the Writer uses, in bytes; 0 means DefaultMemory.
	Memory int64
	// Concurrency is the number of packs sealed at once; 0 derives it from the number of cores.
	Concurrency int
	// MaxFiles limits the number of files; 0 means DefaultMaxFiles.
	MaxFiles int
	// Warn is called for problems that do no harm. It may be called from several
	// goroutines.
	Warn func(error)

	buffers int64 // for tests: the memory limit of contents
}

const (
	DefaultPackSize = 32 << 20
	DefaultMemory   = 512 << 20
	DefaultMaxFiles = 1 << 20
	// MinPackSize is the minimum of Options.PackSize.
	MinPackSize = 4 << 10
	// MinMemory is the minimum of Options.Memory, in addition to what a store
	// buffers for an object.
	MinMemory = otherMemory + 4*segmentMemory

	otherMemory   = 128 << 20 // the program, the index, and parts of the last version's
	segmentMemory = 4 << 20   // a segment that is being sealed
	maxSeals      = 4
)

// A Writer makes one version. It is safe for concurrent use.
type Writer struct {
	opts    Options
	dataset *dataset.Dataset
	lease   *commit.Lease
	key     *envelope.DataKey
	base    *base
	ctx     context.Context // ends with the lease, with the Writer, and at its first error
	cancel  context.CancelCauseFunc
	there   map[envelope.ObjectID]int64 // packs that the vault had at the beginning

	limit    int64 // of used
	seals    int   // packs sealed at once
	segments int   // of each, at once
	line     sync.Mutex
	running  sync.WaitGroup
	// recording serializes recording: the vault may be slow.
	recording turn
	guard     workers.Guard

	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, when something changes
	ended   bool
	busy    bool // Commit is running
	used    int64
	waiting int
	sampled int64 // of used, what open samples hold
	open    map[string]*File
	samples int // that are open
	files   map[string]record
	folders map[string]int // how many files, open or written, lie in each
	removed map[string]bool
	objects []*tree.Object
	filling *pack
	queue   []*pack
	sealing map[*pack]bool
	stats   Stats
}

// Stats counts a Writer's work.
type Stats struct {
	Files, Bytes       int64 // that the version will have of it
	Resumed            int64 // of the files, those that an earlier Writer had written
	Removed            int64 // files of the last version
	Packs, SealedBytes int64 // written to the vault
}

// New begins a version of the dataset. The caller must call Close. When ctx ends, so does
// the Writer. The error wraps dataset.ErrCollected if the records to continue from were
// removed while New read them; calling New again succeeds.
func New(ctx context.Context, d *dataset.Dataset, opts Options) (*Writer, error) {
	if err := given.Check(ctx, d != nil && d.Vault() != nil, errNoDataset); err != nil {
		return nil, err
	}
	if opts.Mode < Add || opts.Mode > Anew {
		return nil, fmt.Errorf("ingest: there is no mode %d", opts.Mode)
	}
	w := &Writer{opts: opts, dataset: d, changed: make(chan struct{}), recording: newTurn(), open: map[string]*File{}, files: map[string]record{},
		folders: map[string]int{}, removed: map[string]bool{}, sealing: map[*pack]bool{}}
	if err := w.bounds(); err != nil {
		return nil, err
	}
	if w.opts.Warn == nil {
		w.opts.Warn = func(error) {}
	}
	source := ""
	if opts.ID != "" {
		sum := sha256.Sum256([]byte("vaultpack writer\x00" + opts.ID))
		source = hex.EncodeToString(sum[:16])
	}
	var err error
	if w.lease, err = commit.Begin(ctx, d, source); err != nil {
		return nil, err
	}
	w.ctx, w.cancel = context.WithCancelCause(w.lease.Context())
	begun := false
	defer func() {
		if !begun { // also if the store panics
			w.ended = true
			w.cancel(ErrEnded)
			if err := w.lease.End(ctx); err != nil {
				w.opts.Warn(err)
			}
		}
	}()
	if err := w.begin(source); err != nil {
		return nil, gone(w.cause(err))
	}
	begun = true
	return w, nil
}

// bounds sets the memory limits, and what follows from them.
func (w *Writer) bounds() error {
	o := &w.opts
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = DefaultMaxFiles
	}
	cores := int64(runtime.GOMAXPROCS(0))
	want := int64(o.Concurrency)
	if want <= 0 {
		want = min(max(2, cores), maxSeals)
	}
	put := int64(0) // what the store buffers for an object
	if s, ok := vault.As[vault.Buffered](w.dataset.Vault().Store); ok {
		put = s.PutMemory()
	}
	room := o.Memory - otherMemory
	if least := put + 4*segmentMemory; room < least {
		return fmt.Errorf("ingest: %d bytes of memory are too few: a writer needs %d in this vault", o.Memory, otherMemory+least)
	}
	// Half is for what is being sealed, and half for what waits.
	seals := max(min(want, room/2/(put+segmentMemory)), 1)
	segments := max(min(2*cores/seals, (room/2/seals-put)/segmentMemory), 1)
	w.seals, w.segments = int(seals), int(segments)
	w.limit = room - seals*(put+segments*segmentMemory)
	if o.buffers > 0 {
		w.limit = o.buffers
	}
	if o.PackSize == 0 {
		o.PackSize = min(DefaultPackSize, max(w.limit/4, MinPackSize))
	}
	if o.PackSize < MinPackSize {
		return fmt.Errorf("ingest: a pack size of %d bytes is below the least, %d", o.PackSize, MinPackSize)
	}
	return nil
}

// begin reads what there is to continue from, and gets the data key.
func (w *Writer) begin(source string) (err error) {
	prev, pending := w.lease.Previous(), w.lease.Pending()
	for _, err := range pending.Unreadable {
		w.opts.Warn(fmt.Errorf("a record of an unfinished upload cannot be used: %w", err))
	}
	if prev != nil && w.opts.Mode != Anew && !w.opts.AllowIncomplete {
		if err := prev.CheckComplete(); err != nil {
			return err
		}
	}
	if err := objects.Of(w.dataset).SweepUnfinished(w.ctx); err != nil {
		w.opts.Warn(err)
	}
	if w.there, err = objects.Of(w.dataset).Packs(w.ctx); err != nil {
		return err
	}
	if w.key, err = w.lease.SealingKey(w.ctx); err != nil {
		return err
	}
	w.base = newBase(prev)
	if w.opts.Mode == Anew {
		w.base.version = nil
	}
	if source == "" {
		return nil
	}
	return w.resume(pending, source)
}

// gone returns the error for something that a Writer began with but that is now
// missing: a collection, or another Writer with the ID, has removed it.
func gone(err error) error {
	if errors.Is(err, dataset.ErrMissing) && !errors.Is(err, dataset.ErrCollected) {
		return fmt.Errorf("%w: %w", dataset.ErrCollected, err)
	}
	return err
}

// cause returns why the context has ended, if it has: that says more than err does.
func (w *Writer) cause(err error) error {
	if err == nil || w.ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(w.ctx); errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

var (
	errNoDataset = errors.New("ingest: the dataset was not opened in a vault")
	errNoWriter  = errors.New("ingest: the Writer is nil or a zero value; create it with New")
	errNoFile    = errors.New("ingest: the File is nil or a zero value; create it with Create")
	errNoSample  = errors.New("ingest: the Sample is nil or a zero value; create it with a Writer")
)

// made returns an error for a Writer that does not come from New.
func (w *Writer) made() error {
	if w == nil || w.lease == nil {
		return errNoWriter
	}
	return nil
}

// usable returns the error of a Writer that has ended, or failed. w.mu is held.
func (w *Writer) usable() error {
	if w.ended {
		return ErrEnded
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return nil
}

// tell wakes everyone who waits. w.mu is held.
func (w *Writer) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// Stats returns the counts so far.
func (w *Writer) Stats() Stats {
	if w.made() != nil {
		return Stats{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// Close ends the Writer. Without a Commit, no version is made, and open files are
// discarded; what a Checkpoint has recorded stays for the next Writer with the same ID.
// After Commit, Close does nothing.
func (w *Writer) Close() error {
	if err := w.made(); err != nil {
		return err
	}
	w.mu.Lock()
	for w.busy { // Commit ends with its own context
		changed := w.changed
		w.mu.Unlock()
		<-changed
		w.mu.Lock()
	}
	if w.ended {
		w.mu.Unlock()
		return nil
	}
	w.ended = true
	w.queue = nil
	w.tell()
	w.mu.Unlock()
	return w.end(w.lease.Context())
}

// end waits for running calls, and ends the lease.
func (w *Writer) end(ctx context.Context) error {
	w.cancel(ErrEnded)
	w.running.Wait()
	err := w.lease.End(ctx)
	w.guard.Resume()
	return err
}
