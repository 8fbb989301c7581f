package view

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

// Ahead begins to fetch the contents of files that are going to be read soon, in any order,
// and does not wait for them. Of a file of more than 32 MiB it fetches the beginning. What
// does not fit in the memory of the view, with what others read, is not fetched. Errors are
// those of the reads that follow.
func (v *View) Ahead(entries []*tree.Entry) {
	if v == nil || v.shared == nil {
		return
	}
	done, err := v.begin()
	if err != nil {
		return
	}
	defer done()
	keys, packs := pagesOf(entries)
	c := v.pages
	c.mu.Lock()
	runs := c.wanted(keys, packs)
	c.mu.Unlock()
	for _, r := range runs {
		c.start(r)
	}
}

// pagesOf returns the pages that hold the files, each once, those of a pack in order.
func pagesOf(entries []*tree.Entry) ([]pageKey, map[envelope.ObjectID]*tree.Object) {
	var all []pageKey
	packs := map[envelope.ObjectID]*tree.Object{}
	for _, e := range entries {
		if e == nil {
			continue
		}
		left := int64(maxWindow)
		for _, x := range e.Extents {
			size, err := x.Pack.PlaintextSize()
			if err != nil || x.Length <= 0 || x.Offset < 0 || x.Offset > size-x.Length {
				continue
			}
			packs[x.Pack.ID] = x.Pack
			last := (x.Offset + x.Length - 1) / pageSize
			for n := x.Offset / pageSize; n <= last && left > 0; n++ {
				left--
				if key := (pageKey{x.Pack.ID, n}); len(all) == 0 || all[len(all)-1] != key {
					all = append(all, key)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b pageKey) int {
		return cmp.Or(bytes.Compare(a.pack[:], b.pack[:]), cmp.Compare(a.n, b.n))
	})
	return slices.Compact(all), packs
}
