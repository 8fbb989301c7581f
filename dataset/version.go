package dataset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/packs"
	"github.com/vaultpack/vaultpack/internal/workers"
	"github.com/vaultpack/vaultpack/signing"
)

// A Version is an immutable snapshot of a dataset.
type Version struct {
	Number  int64
	Created time.Time
	Totals  tree.Totals
	Parts   []tree.Part
	// Parent is the number of the version that this one was made after, 0 for
	// the first, and ParentPin the exact bytes of its root.
	Parent    int64
	ParentPin envelope.Pin
	// KeyID is the data key that this version's own objects were sealed under.
	KeyID envelope.KeyID
	// Pin names the exact bytes of this version's root, and so of everything in the
	// version.
	Pin envelope.Pin
	// Signer is the key that signed it.
	Signer signing.PublicKey
	// Partial says that shards of the plan that it was made of are missing. Their entries are
	// counted in Totals.Flaws.
	Partial bool
	// Message is the comment of the user who made the version.
	Message string

	access
}

func (v *Version) set() *objects.Set { return objects.Of(&v.access) }

func (v *Version) of() *Dataset { return of(v.set()) }

// Dataset returns the name of the version's dataset.
func (v *Version) Dataset() string {
	if v == nil || v.set() == nil {
		return ""
	}
	return v.set().Name
}

// ErrIncomplete is wrapped by the error of CheckComplete.
var ErrIncomplete = errors.New("incomplete")

// CheckComplete returns an error that wraps ErrIncomplete if some of the source
// could not be read when the version was made.
func (v *Version) CheckComplete() error {
	if v == nil || v.set() == nil {
		return errNoVersion
	}
	switch n := v.Totals.Flaws; {
	case n == 0:
		return nil
	case v.Partial:
		return fmt.Errorf("version %d of dataset %q is %w: %d files and folders are missing, of shards that were not finished when it was made", v.Number, v.set().Name, ErrIncomplete, n)
	case n == 1:
		return fmt.Errorf("version %d of dataset %q is %w: 1 file or folder of its source could not be read", v.Number, v.set().Name, ErrIncomplete)
	default:
		return fmt.Errorf("version %d of dataset %q is %w: %d files and folders of its source could not be read", v.Number, v.set().Name, ErrIncomplete, n)
	}
}

// Reference names exactly this version, with its digest.
func (v *Version) Reference() Reference {
	if v == nil {
		return Reference{}
	}
	return Reference{Dataset: v.Dataset(), Number: v.Number, Digest: v.Digest()}
}

// Digest returns the digest by which a reader can recognize this version later.
func (v *Version) Digest() string { return hex.EncodeToString(v.Pin.Digest[:]) }

// Version reads one version's root. It returns ErrUnknownVersion if the dataset
// has other versions, ErrUnknownDataset if it has none, and ErrMissing if the vault
// lists the version but does not have it.
func (d *Dataset) Version(ctx context.Context, number int64) (*Version, error) {
	if err := d.begin(ctx); err != nil {
		return nil, err
	}
	r, err := d.set().ReadRoot(ctx, number)
	if err != nil {
		return nil, d.set().Because(err)
	}
	return versionOf(d.set(), r), nil
}

// versionOf returns the version of a root.
func versionOf(s *objects.Set, r *objects.Root) *Version {
	v := &Version{Number: r.Number, Created: r.Created, Totals: r.Totals, Parts: r.Parts,
		Parent: r.Parent, ParentPin: r.ParentPin, KeyID: r.KeyID, Pin: r.Pin, Signer: r.Signer, Partial: r.Partial, Message: r.Message}
	objects.BindRoot(v, s, r)
	return v
}

// Entries yields the version's entries in the order of their paths, with at
// most two parts of the index in memory.
func (v *Version) Entries(ctx context.Context) iter.Seq2[*tree.Entry, error] {
	return v.EntriesFrom(ctx, "")
}

// readAhead is how many entries of a part are used before the next part is read
// concurrently. So a caller that looks for a single file does not read a second
// part.
const readAhead = 8

// EntriesFrom yields the entries from path on.
func (v *Version) EntriesFrom(ctx context.Context, path string) iter.Seq2[*tree.Entry, error] {
	return func(yield func(*tree.Entry, error) bool) {
		if err := v.begin(ctx); err != nil {
			yield(nil, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		var ahead func() partRead
		defer func() {
			cancel()
			if ahead != nil {
				ahead() // so that no goroutine is running when the dataset is closed next
			}
		}()
		// The part that holds path is the last one whose first entry is not after it.
		start := sort.Search(len(v.Parts), func(i int) bool { return v.Parts[i].First > path })
		for i := max(start-1, 0); i < len(v.Parts); i++ {
			var part partRead
			if ahead == nil {
				part.entries, part.err = v.readPart(ctx, i)
			} else {
				wait := ahead
				ahead = nil
				part = wait()
			}
			if part.err != nil {
				yield(nil, v.set().Because(part.err))
				return
			}
			given := 0
			for _, e := range part.entries {
				if e.Path < path {
					continue
				}
				if !yield(e, nil) {
					return
				}
				if given++; given == readAhead && i+1 < len(v.Parts) {
					ahead = workers.Beside(func() partRead {
						entries, err := v.readPart(ctx, i+1)
						return partRead{entries, err}
					})
				}
			}
		}
	}
}

// A partRead is the result of reading a part of the index.
type partRead struct {
	entries []*tree.Entry
	err     error
}

// ReadPart reads part i of the index.
func (v *Version) ReadPart(ctx context.Context, i int) ([]*tree.Entry, error) {
	if err := v.begin(ctx); err != nil {
		return nil, err
	}
	if i < 0 || i >= len(v.Parts) {
		return nil, fmt.Errorf("the index of version %d has no part %d", v.Number, i)
	}
	entries, err := v.readPart(ctx, i)
	return entries, v.set().Because(err)
}

// readPart reads part i of the index, and checks that its entries lie where the root
// says.
func (v *Version) readPart(ctx context.Context, i int) ([]*tree.Entry, error) {
	part := v.Parts[i]
	entries, err := v.set().ReadIndex(ctx, part)
	if err != nil {
		return nil, v.set().Damaged(v.Number, err)
	}
	for _, e := range entries {
		for _, x := range e.Extents {
			if err := objects.RootOf(v).Names(x.Pack.KeyID); err != nil {
				return nil, v.set().Damaged(v.Number, fmt.Errorf("%s: %w", v.set().IndexName(part.ID), err))
			}
		}
	}
	last := len(entries) - 1
	if last < 0 || entries[0].Path != part.First || len(entries) != part.Entries ||
		i+1 < len(v.Parts) && entries[last].Path >= v.Parts[i+1].First {
		return nil, &DamagedError{Dataset: v.set().Name, Number: v.Number, Err: fmt.Errorf("%s is not what the version root says it is: %w", v.set().IndexName(part.ID), envelope.ErrAuthentication)}
	}
	return entries, nil
}

// ErrNoEntry is returned by Lookup for a path that the version does not have.
var ErrNoEntry = errors.New("the version has no such file")

// Lookup returns the file, link or folder with the given path. A folder's path
// may end in a slash.
func (v *Version) Lookup(ctx context.Context, name string) (*tree.Entry, error) {
	if err := v.begin(ctx); err != nil {
		return nil, err
	}
	for _, p := range []string{name, strings.TrimSuffix(name, "/") + "/"} {
		for e, err := range v.EntriesFrom(ctx, p) {
			if err != nil {
				return nil, err
			}
			if e.Path == p {
				return e, nil
			}
			break
		}
	}
	return nil, fmt.Errorf("%q in version %d of dataset %q: %w", name, v.Number, v.set().Name, ErrNoEntry)
}

// WriteFile writes the contents of one file of the version to w, in order. If the
// contents do not match a recorded sum, WriteFile returns the error only after
// writing them.
func (v *Version) WriteFile(ctx context.Context, w io.Writer, e *tree.Entry) (err error) {
	if err := v.begin(ctx); err != nil {
		return err
	}
	defer func() { err = v.set().Because(err) }()
	whole := sha256.New()
	if e.Sum != nil {
		w = io.MultiWriter(w, whole)
	}
	for _, x := range e.Extents {
		if x.Length == 0 {
			continue
		}
		size, err := x.Pack.PlaintextSize()
		if err != nil {
			return v.set().PackError(x.Pack, err)
		}
		r, closer, err := v.set().OpenRange(ctx, x.Pack, size, x.Offset, x.Length)
		if err != nil {
			return err
		}
		err = packs.CopyExtent(ctx, v.set(), w, r, x)
		closer.Close()
		if err != nil {
			return v.set().PackError(x.Pack, err)
		}
	}
	if e.Sum != nil && !bytes.Equal(whole.Sum(nil), e.Sum) {
		return packs.ErrSHA256
	}
	return nil
}
