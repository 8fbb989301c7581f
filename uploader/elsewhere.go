package uploader

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"
	"sort"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/tarpack"
)

// elsewhere finds contents of the previous version by their sums, independent of the
// file's name: a file that was moved or copied is read, but not sent. It is built when
// the first file with a new name is found, in one pass over the previous index, and
// takes 48 bytes for each of that version's files, up to a limit. Files beyond the
// limit are not found. It is safe for concurrent use.
type elsewhere struct {
	*upload
	turn    chan struct{} // holds one token while nobody loads; closed when everything is loaded
	files   []place
	objects []*tree.Object
	index   map[envelope.ObjectID]int // places in objects, as far as the vault has them
	// whole are the entries of files too large for a pack of their own.
	whole map[int64][]*tree.Entry
}

// A place is where the contents of a small file are stored.
type place struct {
	size   int64
	sum    envelope.ContentSum
	pack   int // index in objects
	offset int64
}

// maxWhole limits the large files that are kept, by their extents.
const maxWhole = 1 << 16

func newElsewhere(u *upload) *elsewhere {
	t := &elsewhere{upload: u, turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

// load builds the tables. If some of the index cannot be read, its contents are not found
// here; the planner, which reads it too, reports why. Others wait on a channel, not on a
// lock, since reading may take long.
func (t *elsewhere) load(ctx context.Context) {
	if _, first := <-t.turn; first {
		defer close(t.turn)
		t.read(ctx)
	}
}

func (t *elsewhere) read(ctx context.Context) {
	if t.prev == nil || t.shard != nil { // each worker would read all of the index
		return
	}
	limit := int(min(t.Memory/8/48, math.MaxInt32))
	t.whole = map[int64][]*tree.Entry{}
	t.index = map[envelope.ObjectID]int{}
	pieces := 0
	for e, err := range t.prev.Entries(ctx) {
		if err != nil {
			t.files, t.whole = nil, nil
			return
		}
		if !e.IsFile() || e.Size == 0 || !summed(e.Extents) || e.Extents[0].Pack.KeyID != t.key.ID() {
			continue
		}
		if len(e.Extents) > 1 || tarpack.Size(e)+tarpack.End > t.PackSize {
			if pieces += len(e.Extents); pieces <= maxWhole {
				t.whole[e.Size] = append(t.whole[e.Size], e)
			}
			continue
		}
		if len(t.files) >= limit {
			continue
		}
		x := e.Extents[0]
		n, ok := t.index[x.Pack.ID]
		if !ok {
			if !t.hasPack(x.Pack) {
				continue
			}
			n = len(t.objects)
			t.index[x.Pack.ID] = n
			t.objects = append(t.objects, x.Pack)
		}
		t.files = append(t.files, place{size: e.Size, sum: x.Sum, pack: n, offset: x.Offset})
	}
	slices.SortFunc(t.files, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.size, b.size), bytes.Compare(a.sum[:], b.sum[:]), cmp.Compare(a.pack, b.pack))
	})
}

// has reports whether a small file of that size is known.
func (t *elsewhere) has(ctx context.Context, size int64) bool {
	t.load(ctx)
	i := sort.Search(len(t.files), func(i int) bool { return t.files[i].size >= size })
	return i < len(t.files) && t.files[i].size == size
}

// small returns the places where the contents of a small file are stored, sorted by pack.
func (t *elsewhere) small(size int64, sum envelope.ContentSum) []place {
	compare := func(a, b place) int { return cmp.Or(cmp.Compare(a.size, b.size), bytes.Compare(a.sum[:], b.sum[:])) }
	i, ok := slices.BinarySearchFunc(t.files, place{size: size, sum: sum}, compare)
	if !ok {
		return nil
	}
	n := i
	for n < len(t.files) && t.files[n].size == size && t.files[n].sum == sum {
		n++
	}
	return t.files[i:n]
}

// in returns the place in the pack, out of several places with the same contents.
func (t *elsewhere) in(places []place, pack envelope.ObjectID) (place, bool) {
	n, ok := t.index[pack]
	if !ok {
		return place{}, false
	}
	i, ok := slices.BinarySearchFunc(places, n, func(p place, n int) int { return cmp.Compare(p.pack, n) })
	if !ok {
		return place{}, false
	}
	return places[i], true
}

// known returns the contents of a place.
func (t *elsewhere) known(p place) known {
	return known{extents: []tree.Extent{{Pack: t.objects[p.pack], Offset: p.offset, Length: p.size, Sum: p.sum}}}
}

// large returns the files of that size that are too large for a pack of their own.
func (t *elsewhere) large(ctx context.Context, size int64) []*tree.Entry {
	t.load(ctx)
	return t.whole[size]
}
