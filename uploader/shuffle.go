package uploader

import (
	"bytes"
	"crypto/sha256"
	"path"
	"slices"
)

// A unit is what must go into the same pack: a sample, or a file.
type unit struct {
	items []*item
	size  int64
	rank  [sha256.Size]byte
}

// shuffled keeps a unit until enough of them can be mixed: see mix.
func (p *planner) shuffled(items []*item, size int64) {
	// The rank follows from the name alone, so that the same files make the same packs.
	dir, name := path.Split(items[0].entry.Path)
	p.pool = append(p.pool, unit{items, size, sha256.Sum256([]byte("vaultpack shuffle\x00" + dir + sampleStem(name) + "\x00" + items[0].entry.Path))})
}

// mix packs the units of the pool in the order of their ranks. The pool is as large as
// the window: with fewer files than that, each pack has some of every folder.
func (p *planner) mix() error {
	pool := p.pool
	p.pool = nil
	slices.SortFunc(pool, func(a, b unit) int { return bytes.Compare(a.rank[:], b.rank[:]) })
	for _, u := range pool {
		if err := p.pack(u.items, u.size); err != nil {
			return err
		}
	}
	return nil
}
