package uploader

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/vault"
)

// DefaultPackSize is how much plaintext a pack holds at most, in bytes.
const DefaultPackSize = 128 << 20

// MinPackSize is the least that PackSize may be.
const MinPackSize = 4 << 10

// Options say how to upload. The zero value uploads all of the source, safely.
type Options struct {
	// Filter chooses among the files of a folder; nil chooses all.
	Filter *Filter
	// Links says what becomes of symbolic links.
	Links Links
	// AllowEmpty lets a source without files, or an empty stream, take the place of
	// a version that has some.
	AllowEmpty bool
	// Own are files and folders that may lie below the source and are skipped. The
	// vault in a directory and the files of its keys are among them anyway.
	Own []string
	// PackSize is the plaintext of a pack in bytes; 0 is DefaultPackSize.
	PackSize int64
	// Shuffle mixes small files of all folders in each pack, where they are packed in the
	// order of their paths otherwise. The order follows from their names. It is for datasets
	// with a folder for each class that are trained on in shards; reading one folder
	// reads parts of many packs then.
	Shuffle bool
	// Memory bounds what the upload takes of memory, in bytes; 0 is DefaultMemory.
	// The least that it needs is some 200 MiB.
	Memory int64
	// Concurrency is how many packs are written at once; 0 lets the cores and the
	// memory decide. A stream is read by one after the other all the same.
	Concurrency int
	// Checksum compares files by their SHA-256, not by size and time, and
	// records it in the index.
	Checksum bool
	// Message is what is said about the version that is made, signed with it.
	Message string
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
	// Progress tells what has been done so far; nil is for those who only want to know
	// at the end.
	Progress *Progress
}

// complete checks the options and fills in what is left to this package.
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

// DefaultMemory is what an upload takes of memory at most, in bytes.
const DefaultMemory = 512 << 20

// MinMemory is the least that an upload needs of memory, in bytes, beside what a
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
func (u *upload) limits() (packs, segments int) {
	cores := runtime.GOMAXPROCS(0)
	want := u.Concurrency
	switch {
	case want > 0:
	case u.stream != nil:
		want = 2 // one is read into, and one is being finished
	default:
		want = min(max(2, cores), maxPacks)
	}
	put := envelope.SealedSize(u.PackSize) // what the store buffers for an object, if it does not say
	if s, ok := vault.As[vault.Buffered](u.dataset.Vault().Store); ok {
		put = s.PutMemory()
	}
	room := max(u.Memory-otherMemory, 0)
	packs = int(max(min(int64(want), room/(put+segmentMemory)), 1))
	// Twice as many segments as cores, so that none idles while packs begin and end.
	filled := packs // at the same time
	if u.stream != nil {
		filled = 1
	}
	segments = int(max(min(int64(2*cores/filled), (room/int64(packs)-put)/segmentMemory), 1))
	return packs, segments
}
