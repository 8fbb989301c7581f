package uploader

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/vault"
)

// DefaultPackSize is the default of Options.PackSize, in bytes.
const DefaultPackSize = 128 << 20

// MinPackSize is the minimum of Options.PackSize.
const MinPackSize = 4 << 10

// Options configure an upload. The zero value safely uploads all of the source.
type Options struct {
	// Filter selects files of a folder; nil selects all.
	Filter *Filter
	// Links says how to treat symbolic links.
	Links Links
	// AllowEmpty lets a source without files, or an empty stream, replace a version
	// that has files.
	AllowEmpty bool
	// Own holds files and folders that are skipped if they lie below the source. A
	// vault in a directory and the files of its keys are always skipped.
	Own []string
	// PackSize is the maximum plaintext of a pack in bytes; 0 means DefaultPackSize.
	PackSize int64
	// Shuffle mixes small files of all folders in each pack. Otherwise they are packed in
	// the order of their paths. The shuffled order is derived from their names. Shuffle is
	// for datasets with a folder for each class that training jobs read in shards; reading
	// one folder then reads parts of many packs.
	Shuffle bool
	// Memory limits the memory that the upload uses, in bytes; 0 means
	// DefaultMemory. An upload needs at least about 200 MiB.
	Memory int64
	// Concurrency is the number of packs written at once; 0 derives it from the
	// cores and the memory. The packs of a stream are still read one after another.
	Concurrency int
	// Checksum compares files by their SHA-256 instead of size and time, and
	// records it in the index.
	Checksum bool
	// Message is the message of the new version, which is signed with it.
	Message string
	// Resend holds damaged packs, which are treated as lost: their files are sent
	// again if they are in the source.
	Resend []envelope.ObjectID
	// DryRun determines what would be done, and writes nothing. It does not read
	// files that a run would only read to send them. The Vault of the Result has
	// the usage of the planned run.
	DryRun bool
	// Failed is called for each file that could not be read, and Skipped for each
	// path that is not a file, folder or link. Warn is called for problems that do
	// no harm. They may be called from several goroutines.
	Failed  func(path string, err error)
	Skipped func(path, kind string)
	Warn    func(err error)
	// Progress, if not nil, counts what has been done so far.
	Progress *Progress
}

// complete checks the options and fills in defaults.
func (o *Options) complete() error {
	if o.Memory < 0 || o.Concurrency < 0 {
		return errors.New("uploader: a bound below zero; 0 lets the upload choose")
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.PackSize == 0 {
		o.PackSize = DefaultPackSize
	}
	if o.PackSize < MinPackSize {
		return fmt.Errorf("a pack size of %d bytes is below the least, %d", o.PackSize, MinPackSize)
	}
	if o.Failed == nil {
		o.Failed = func(string, error) {}
	}
	if o.Skipped == nil {
		o.Skipped = func(string, string) {}
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	return nil
}

// DefaultMemory is the default of Options.Memory, in bytes.
const DefaultMemory = 512 << 20

// MinMemory is the minimum memory that an upload needs, in bytes, in addition to
// what a store buffers for an object.
const MinMemory = otherMemory + segmentMemory

const (
	// otherMemory is the memory for everything except packs in progress: the program,
	// the index, and the files between the walk and the index.
	otherMemory = 192 << 20
	// segmentMemory is the memory for a segment that is being sealed, and for what
	// waits to follow it.
	segmentMemory = 4 << 20
	maxPacks      = 8
)

// limits returns how many packs are written at once, and how many segments of each are
// sealed at once, so that all cores are used within the memory.
func (u *upload) limits() (packs, segments int) {
	cores := runtime.GOMAXPROCS(0)
	want := u.Concurrency
	switch {
	case want > 0:
	case u.stream != nil:
		want = 2 // one is being read into, and one is being finished
	default:
		want = min(max(2, cores), maxPacks)
	}
	put := envelope.SealedSize(u.PackSize) // what the store buffers for an object, if it does not say
	if s, ok := vault.As[vault.Buffered](u.dataset.Vault().Store); ok {
		put = s.PutMemory()
	}
	if u.bucket != nil {
		put += aheadMemory
	}
	room := max(u.Memory-otherMemory, 0)
	packs = int(max(min(int64(want), room/(put+segmentMemory)), 1))
	// Twice as many segments as cores, so that no core idles while packs begin and end.
	filled := packs // at the same time
	if u.stream != nil {
		filled = 1
	}
	segments = int(max(min(int64(2*cores/filled), (room/int64(packs)-put)/segmentMemory), 1))
	return packs, segments
}
