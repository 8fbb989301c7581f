package uploader

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sort"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// elsewhere finds contents of the previous version by their sums, whatever the name
// of the file: one that was moved or copied is read, and not sent. It is made when a
// file with a new name is first met, by one pass over the previous index, and takes
// 48 bytes for each of that version's files, up to a bound: the files beyond it are
// not found. It is safe for concurrent use.
type elsewhere struct {
	*Upload
	turn  chan struct{} // holds one token while nobody loads; closed when all is loaded
	files []place
	packs []*dataset.Object
	// whole are the entries of files too large for a pack of their own.
	whole map[int64][]*dataset.Entry
}

// A place is where the contents of a small file lie.
type place struct {
	size   int64
	sum    envelope.ContentSum
	pack   int // in packs
	offset int64
}

// maxWhole bounds the large files that are kept, by their extents.
const maxWhole = 1 << 16

func newElsewhere(u *Upload) *elsewhere {
	t := &elsewhere{Upload: u, turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

// load makes the tables. What cannot be read of the index is not found here; the
// planner, which reads it too, tells why. Others wait on a channel, not on a lock:
// to read may take long.
func (t *elsewhere) load(ctx context.Context) {
	if _, first := <-t.turn; first {
		defer close(t.turn)
		t.read(ctx)
	}
}

func (t *elsewhere) read(ctx context.Context) {
	if t.prev == nil {
		return
	}
	limit := int(t.Memory / 8 / 48)
	t.whole = map[int64][]*dataset.Entry{}
	index := map[envelope.ObjectID]int{}
	pieces := 0
	for e, err := range t.prev.Entries(ctx) {
		if err != nil {
			t.files, t.whole = nil, nil
			return
		}
		if !e.IsFile() || e.Size == 0 || !summed(e.Extents) || e.Extents[0].Pack.KeyID != t.key.ID() {
			continue
		}
		if len(e.Extents) > 1 || tarSize(e)+tarEnd > t.PackSize {
			if pieces += len(e.Extents); pieces <= maxWhole {
				t.whole[e.Size] = append(t.whole[e.Size], e)
			}
			continue
		}
		if len(t.files) >= limit {
			continue
		}
		x := e.Extents[0]
		n, ok := index[x.Pack.ID]
		if !ok {
			n = len(t.packs)
			index[x.Pack.ID] = n
			t.packs = append(t.packs, x.Pack)
		}
		t.files = append(t.files, place{size: e.Size, sum: x.Sum, pack: n, offset: x.Offset})
	}
	slices.SortFunc(t.files, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.size, b.size), bytes.Compare(a.sum[:], b.sum[:]))
	})
}

// has reports whether a small file of that size is known.
func (t *elsewhere) has(ctx context.Context, size int64) bool {
	t.load(ctx)
	i := sort.Search(len(t.files), func(i int) bool { return t.files[i].size >= size })
	return i < len(t.files) && t.files[i].size == size
}

// small finds the contents of a small file.
func (t *elsewhere) small(size int64, sum envelope.ContentSum) ([]dataset.Extent, bool) {
	i, ok := slices.BinarySearchFunc(t.files, place{size: size, sum: sum}, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.size, b.size), bytes.Compare(a.sum[:], b.sum[:]))
	})
	if !ok {
		return nil, false
	}
	p := t.files[i]
	return []dataset.Extent{{Pack: t.packs[p.pack], Offset: p.offset, Length: size, Sum: sum}}, true
}

// large gives the files of that size that are too large for a pack of their own.
func (t *elsewhere) large(ctx context.Context, size int64) []*dataset.Entry {
	t.load(ctx)
	return t.whole[size]
}
