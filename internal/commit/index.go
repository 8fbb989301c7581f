package commit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// Limits of a part of an index. A part is the unit that a reader fetches to find one
// file, and that is held in memory. They are variables for the tests only.
var (
	PartEntries = 16 << 10
	partPathLen = 4 << 20 // bytes of paths, link targets and packs
)

// An Index writes the index of a new version, entry by entry in the order of their paths.
// A part of the previous version's index in which nothing has changed is reused, and not
// written again.
type Index struct {
	dataset *dataset.Dataset
	key     *envelope.DataKey
	prev    *dataset.Version

	pending []*tree.Entry
	pathLen int
	part    int // the part of prev that begins with what is pending, or -1
	next    int // the part of prev that begins next

	parts  []tree.Part
	reused int
	totals tree.Totals
	merkle *tree.Merkle
	packs  map[envelope.ObjectID]*tree.Object
	last   string
	// confirmed holds entries that replace pending ones if those have to be rewritten.
	confirmed map[*tree.Entry]*tree.Entry
}

// NewIndex starts the index of the version after prev, which may be nil.
func NewIndex(d *dataset.Dataset, key *envelope.DataKey, prev *dataset.Version) *Index {
	return NewIndexAt(d, key, prev, 0)
}

// NewIndexAt starts the part of an index that begins with entry first, counted from 0.
func NewIndexAt(d *dataset.Dataset, key *envelope.DataKey, prev *dataset.Version, first int64) *Index {
	return &Index{dataset: d, key: key, prev: prev, part: -1, packs: map[envelope.ObjectID]*tree.Object{}, merkle: tree.NewMerkle(first)}
}

// A Step relates an entry to the previous version. The zero value means that the entry is
// new, or has changed.
type Step struct {
	// Unchanged says that the previous version has exactly the same entry.
	Unchanged bool
	// Gap says that the previous version has entries, now removed, between the entry
	// added last and this one.
	Gap bool
}

// Add adds an entry.
func (w *Index) Add(ctx context.Context, e *tree.Entry, step Step) error {
	if err := w.begin(ctx); err != nil {
		return err
	}
	if len(w.parts)+len(w.pending) > 0 && e.Path <= w.last {
		return fmt.Errorf("index entry %q comes after %q", e.Path, w.last)
	}
	if err := codec.Check(e); err != nil {
		return err
	}
	if err := codec.CheckExtents(e); err != nil {
		return err
	}
	w.last = e.Path
	w.count(e)
	if err := w.follow(ctx, e, step); err != nil {
		return err
	}
	w.pending = append(w.pending, e)
	w.pathLen += codec.PathLen(e)
	if w.part >= 0 {
		if len(w.pending) == w.prev.Parts[w.part].Entries {
			w.parts = append(w.parts, w.prev.Parts[w.part])
			w.reused++
			w.reset()
		}
		return nil
	}
	// While there are parts of the previous index ahead, this one may grow up to the
	// next, so that one more entry does not shift the boundaries of all parts that
	// follow. A part that has grown too large is halved: the second half is then large
	// enough to be cut off at the next old boundary.
	if w.prev != nil && w.next < len(w.prev.Parts) {
		if len(w.pending) >= 2*PartEntries || w.pathLen >= 2*partPathLen {
			return w.write(ctx, max(len(w.pending)/2, 1))
		}
		return nil
	}
	if len(w.pending) >= PartEntries || w.pathLen >= partPathLen {
		return w.flush(ctx)
	}
	return nil
}

// follow tracks whether the pending entries are the beginning of a part of the
// previous index.
func (w *Index) follow(ctx context.Context, e *tree.Entry, step Step) error {
	if w.prev == nil {
		return nil
	}
	for w.next < len(w.prev.Parts) && w.prev.Parts[w.next].First < e.Path {
		w.next++ // skipped, or inside it
	}
	begins := step.Unchanged && w.next < len(w.prev.Parts) && w.prev.Parts[w.next].First == e.Path
	if !begins {
		if !step.Unchanged || step.Gap {
			w.part = -1
		}
		return nil
	}
	// The pending entries are cut off here, unless that would leave a tiny part.
	if n := len(w.pending); w.part < 0 && n > 0 && n < PartEntries/4 {
		return nil
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	w.part = w.next
	w.next++
	return nil
}

func (w *Index) count(e *tree.Entry) {
	w.merkle.Add(e)
	if e.Flaw != "" {
		w.totals.Flaws++
	}
	w.totals.Count(e)
	for _, x := range e.Extents {
		if _, ok := w.packs[x.Pack.ID]; !ok {
			w.packs[x.Pack.ID] = x.Pack
			w.totals.Packs++
			w.totals.SealedBytes += x.Pack.Pin.Size
		}
	}
}

// Confirm replaces then, an entry of the previous version that is about to be added as
// unchanged, with now. It does so only if its part has to be written anyway, since the
// difference does not matter to readers.
func (w *Index) Confirm(then, now *tree.Entry) {
	if w.confirmed == nil {
		w.confirmed = map[*tree.Entry]*tree.Entry{}
	}
	w.confirmed[then] = now
}

func (w *Index) reset() {
	w.pending, w.pathLen, w.part = nil, 0, -1
	clear(w.confirmed)
}

func (w *Index) flush(ctx context.Context) error {
	if len(w.pending) == 0 {
		w.reset()
		return nil
	}
	return w.write(ctx, len(w.pending))
}

// write makes a part of the first n pending entries; n is at least 1.
func (w *Index) write(ctx context.Context, n int) error {
	for i, e := range w.pending {
		if now := w.confirmed[e]; now != nil {
			w.pending[i] = now
		}
	}
	first, rest := w.pending[:n], w.pending[n:]
	list, err := codec.EncodeList(codec.IndexFormat, w.dataset.Name, "", first)
	if err != nil {
		return err
	}
	o, err := objects.Of(w.dataset).Seal(ctx, envelope.KindIndex, w.key, objects.Of(w.dataset).IndexName, func(dst io.Writer) error {
		_, err := dst.Write(list)
		return err
	})
	if err != nil {
		return fmt.Errorf("writing the index: %w", err)
	}
	w.parts = append(w.parts, tree.Part{Object: o, First: first[0].Path, Entries: n, Sum: sha256.Sum256(list)})
	w.reset()
	for _, e := range rest {
		w.pathLen += codec.PathLen(e)
	}
	w.pending = rest
	return nil
}

// Contents holds what a version consists of.
type Contents struct {
	Parts  []tree.Part
	Totals tree.Totals
	// Tree is the hash of the plaintext files, if HasTree.
	Tree    [32]byte
	HasTree bool
	// Nodes are what Tree is computed from, see tree.Merkle, and Last is the path of the
	// last entry.
	Nodes [][32]byte
	Last  string
	// KeyIDs are the data keys that packs and parts are sealed under; nil if unknown, as
	// for a version whose index was reused unread.
	KeyIDs map[envelope.KeyID]bool
	// Relied are the packs that the version relies on but that the upload did not make.
	Relied map[envelope.ObjectID]*tree.Object
	// Plan is the ID of the plan whose workers have written the parts, empty for parts of
	// the upload's own. Partial says that shards of it are missing.
	Plan    string
	Partial bool
	// Message is what the version's author says about it.
	Message string
	// Tags are the version's tags, if they differ from those of the version before.
	Tags *[]codec.Tag
}

// Same returns the contents of a version, to make another with the same contents.
func Same(v *dataset.Version) Contents {
	r := objects.RootOf(v)
	return Contents{Parts: v.Parts, Totals: v.Totals, Tree: r.Tree, HasTree: r.HasTree}
}

// Finish writes the remaining entries. changed is false if the index is exactly that of
// the previous version.
func (w *Index) Finish(ctx context.Context) (c Contents, changed bool, err error) {
	if err := w.begin(ctx); err != nil {
		return c, false, err
	}
	if err := w.flush(ctx); err != nil {
		return c, false, err
	}
	changed = w.prev == nil || w.reused != len(w.parts) || len(w.parts) != len(w.prev.Parts)
	c = Contents{Parts: w.parts, Totals: w.totals, KeyIDs: map[envelope.KeyID]bool{}}
	c.Nodes, c.HasTree = w.merkle.Nodes()
	c.Tree, _ = w.merkle.Sum()
	c.Last = w.last
	for _, p := range w.parts {
		c.KeyIDs[p.KeyID] = true
	}
	for _, o := range w.packs {
		c.KeyIDs[o.KeyID] = true
	}
	return c, changed, nil
}

// Packs returns the packs that the index names, for [Lease.Commit].
func (w *Index) Packs() map[envelope.ObjectID]*tree.Object { return w.packs }
