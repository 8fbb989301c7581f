package dataset

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// Totals sums up a version.
type Totals struct {
	Files   int64 `json:"files"`
	Folders int64 `json:"folders"`
	Links   int64 `json:"links"`
	Bytes   int64 `json:"bytes"`
	Packs   int64 `json:"packs"`
	// SealedBytes is what the packs take in the vault.
	SealedBytes int64 `json:"sealed_bytes"`
	// Flaws is how many entries have a [Flaw], plus what of the source could not be
	// read and is not in the version at all. The version is complete if it is 0.
	Flaws int64 `json:"flaws,omitempty"`
}

// A Part is one part of a version's index.
type Part struct {
	Object
	First   string // the path of its first entry
	Entries int
}

// A Version is an immutable snapshot of a dataset.
type Version struct {
	Number  int64
	Created time.Time
	Totals  Totals
	Parts   []Part
	// Parent is the number of the version that this one was made after, 0 for
	// the first, and ParentPin the exact bytes of its root.
	Parent    int64
	ParentPin envelope.Pin
	// KeyID is the data key that this version's own objects were sealed under.
	KeyID envelope.KeyID
	// Pin names the exact bytes of this version's root, and so of all of it.
	Pin envelope.Pin

	dataset *Dataset
}

// Dataset is the name of the version's dataset.
func (v *Version) Dataset() string { return v.dataset.Name }

// ErrIncomplete is wrapped by the error of CheckComplete.
var ErrIncomplete = errors.New("incomplete")

// CheckComplete returns an error that wraps ErrIncomplete if some of the source
// could not be read when the version was made.
func (v *Version) CheckComplete() error {
	switch n := v.Totals.Flaws; n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("version %d of dataset %q is %w: 1 file or folder of its source could not be read", v.Number, v.dataset.Name, ErrIncomplete)
	default:
		return fmt.Errorf("version %d of dataset %q is %w: %d files and folders of its source could not be read", v.Number, v.dataset.Name, ErrIncomplete, n)
	}
}

// Digest is what a reader writes down to know this version again.
func (v *Version) Digest() string { return hex.EncodeToString(v.Pin.Digest[:]) }

const (
	versionFormat = "vaultpack-version/1"
	maxRoot       = 32 << 20
	maxParts      = maxRoot / 256 // none takes less
)

// rootJSON is the contents of a version root.
type rootJSON struct {
	Format  string      `json:"format"`
	Dataset string      `json:"dataset"`
	Number  int64       `json:"number"`
	Created time.Time   `json:"created"`
	Parent  *parentJSON `json:"parent,omitempty"`
	Totals  Totals      `json:"totals"`
	Parts   []partJSON  `json:"parts"`
}

type parentJSON struct {
	Number int64  `json:"number"`
	Size   int64  `json:"size"`
	Digest string `json:"digest"`
}

type partJSON struct {
	objectJSON
	First   string `json:"first"`
	First64 []byte `json:"first64,omitempty"`
	Entries int    `json:"entries"`
}

// Version reads one version's root. It returns ErrUnknownVersion if the dataset
// has other versions, ErrUnknownDataset if it has none, and ErrMissing if the
// vault lists the version and does not have it.
func (d *Dataset) Version(ctx context.Context, number int64) (*Version, error) {
	name := d.versionName(number)
	b, err := d.get(ctx, name, maxRoot)
	if errors.Is(err, ErrMissing) {
		numbers, lerr := d.Versions(ctx)
		if lerr != nil {
			return nil, lerr
		}
		switch {
		case len(numbers) == 0:
			return nil, fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
		case !slices.Contains(numbers, number):
			return nil, fmt.Errorf("version %d of dataset %q, whose newest is %d: %w",
				number, d.Name, numbers[len(numbers)-1], ErrUnknownVersion)
		}
		// It is listed: it was made just now, or the vault withholds it.
		b, err = d.get(ctx, name, maxRoot)
	}
	if err != nil {
		return nil, d.damaged(number, err)
	}
	if mark := string(b); mark == closedMark || mark == removedMark {
		return nil, d.marked(number, mark)
	}
	v, err := d.parseVersion(ctx, number, b)
	if err != nil {
		return nil, d.damaged(number, fmt.Errorf("%s: %w", name, tampered(err)))
	}
	return v, nil
}

func (d *Dataset) parseVersion(ctx context.Context, number int64, sealed []byte) (*Version, error) {
	src := bytes.NewReader(sealed)
	h, err := envelope.ReadHeader(src)
	if err != nil {
		return nil, err
	}
	if h.Keyring != nil {
		return nil, envelope.ErrAuthentication // it would open, but no writer puts one there
	}
	key, err := d.Key(ctx, h.KeyID)
	if err != nil {
		return nil, err
	}
	r, err := h.Open(src, envelope.KindVersion, key)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	j, parts, err := readRoot(b)
	if errors.Is(err, envelope.ErrAuthentication) {
		return nil, err
	}
	if err != nil || j.Format != versionFormat {
		return nil, fmt.Errorf("version %d is in a newer format, or of another program", number)
	}
	if j.Dataset != d.Name || j.Number != number || j.Parent != nil && (j.Parent.Number < 1 || j.Parent.Number >= number) || !j.Totals.sound() {
		return nil, envelope.ErrAuthentication // another's root under this name
	}
	v := &Version{Number: number, Created: j.Created, Totals: j.Totals, KeyID: h.KeyID, Pin: r.Pin(), dataset: d}
	if j.Parent != nil {
		v.Parent, v.ParentPin.Size = j.Parent.Number, j.Parent.Size
		if v.ParentPin.Digest, err = parseDigest(j.Parent.Digest); err != nil {
			return nil, err
		}
	}
	v.Parts = parts
	return v, nil
}

// sound reports whether the totals can be those of any version.
func (t Totals) sound() bool {
	return min(t.Files, t.Folders, t.Links, t.Bytes, t.Packs, t.SealedBytes) >= 0
}

// readRoot reads a root's JSON. The parts are read one by one, each checked before
// the next: in memory they take many times the shortest text.
func readRoot(b []byte) (j rootJSON, parts []Part, err error) {
	field := func(v any) func(*json.Decoder) error { return func(d *json.Decoder) error { return d.Decode(v) } }
	err = readObject(b, map[string]func(*json.Decoder) error{
		"format": field(&j.Format), "dataset": field(&j.Dataset), "number": field(&j.Number), "created": field(&j.Created),
		"parent": field(&j.Parent), "totals": field(&j.Totals),
		"parts": func(d *json.Decoder) error {
			return readArray(d, func() error {
				var p partJSON
				if err := d.Decode(&p); err != nil {
					return err
				}
				o, err := p.object()
				if err != nil {
					return err
				}
				first := fromUTF8(p.First, p.First64)
				switch {
				case len(first) > maxPath+1:
					return fmt.Errorf("a part begins with a path of %d bytes: %w", len(first), envelope.ErrAuthentication)
				case p.Entries < 1 || p.Entries > maxEntries:
					return fmt.Errorf("a part of %d entries, and the bound is %d: %w", p.Entries, maxEntries, envelope.ErrAuthentication)
				case len(parts) == maxParts:
					return fmt.Errorf("more parts than %d: %w", maxParts, envelope.ErrAuthentication)
				case len(parts) > 0 && first <= parts[len(parts)-1].First:
					return fmt.Errorf("the parts are not sorted at %q: %w", first, envelope.ErrAuthentication)
				}
				parts = append(parts, Part{Object: o, First: first, Entries: p.Entries})
				return nil
			})
		},
	})
	return j, parts, err
}

// ErrConflict is returned by [Lease.Commit] if another writer has made the version.
var ErrConflict = errors.New("another writer has changed the dataset")

// commit makes the version of the given number after parent, which may be nil.
func (d *Dataset) commit(ctx context.Context, key *envelope.DataKey, number int64, parent *Version, parts []Part, totals Totals) (*Version, error) {
	j := rootJSON{Format: versionFormat, Dataset: d.Name, Number: number, Created: time.Now().UTC(), Totals: totals, Parts: []partJSON{}}
	if parent != nil {
		j.Parent = &parentJSON{parent.Number, parent.Pin.Size, parent.Digest()}
	}
	for _, p := range parts {
		pj := partJSON{objectJSON: p.toJSON(), Entries: p.Entries}
		pj.First, pj.First64 = toUTF8(p.First)
		j.Parts = append(j.Parts, pj)
	}
	b, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > maxRoot/2 {
		return nil, fmt.Errorf("a version of %d index parts is more than one dataset can hold; split it", len(parts))
	}
	var sealed bytes.Buffer
	w, err := envelope.NewWriter(&sealed, envelope.KindVersion, key)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	err = d.vault.Create(ctx, d.versionName(j.Number), sealed.Bytes())
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("version %d of dataset %q: %w", j.Number, d.Name, ErrConflict)
	}
	if err != nil {
		return nil, fmt.Errorf("committing the version: %w", err)
	}
	v := &Version{Number: j.Number, Created: j.Created, Totals: totals, Parts: parts, KeyID: key.ID(), Pin: w.Pin(), dataset: d}
	if parent != nil {
		v.Parent, v.ParentPin = parent.Number, parent.Pin
	}
	return v, nil
}

// Entries gives the version's entries in the order of their paths, two parts of
// the index in memory at a time.
func (v *Version) Entries(ctx context.Context) iter.Seq2[*Entry, error] {
	return v.EntriesFrom(ctx, "")
}

// readAhead is how many entries of a part are taken before the next part is read
// beside the caller. Who looks for a single file reads no second part.
const readAhead = 8

// EntriesFrom gives the entries from path on.
func (v *Version) EntriesFrom(ctx context.Context, path string) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var ahead func() partRead
		defer func() {
			cancel()
			if ahead != nil {
				ahead() // whoever closes the dataset next finds nobody at work
			}
		}()
		// The part that holds path is the last whose first entry is not after it.
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
				yield(nil, part.err)
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

// A partRead is what reading a part of the index has given.
type partRead struct {
	entries []*Entry
	err     error
}

// readPart reads part i of the index, and checks that it goes where the root
// says.
func (v *Version) readPart(ctx context.Context, i int) ([]*Entry, error) {
	part := v.Parts[i]
	entries, err := v.dataset.readIndex(ctx, part.Object)
	if err != nil {
		return nil, v.dataset.damaged(v.Number, err)
	}
	last := len(entries) - 1
	if last < 0 || entries[0].Path != part.First || len(entries) != part.Entries ||
		i+1 < len(v.Parts) && entries[last].Path >= v.Parts[i+1].First {
		return nil, &DamagedError{v.dataset.Name, v.Number, fmt.Errorf("%s is not what the version root says it is: %w", v.dataset.indexName(part.ID), envelope.ErrAuthentication)}
	}
	return entries, nil
}

// ErrNoEntry is returned by Lookup for a path that the version does not have.
var ErrNoEntry = errors.New("there is no such file in the version")

// Lookup finds a file, link or folder by its path, with or without the slash
// of a folder.
func (v *Version) Lookup(ctx context.Context, name string) (*Entry, error) {
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
	return nil, fmt.Errorf("%q in version %d of dataset %q: %w", name, v.Number, v.dataset.Name, ErrNoEntry)
}
