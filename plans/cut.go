package plans

import (
	"slices"
	"sort"

	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/uploader"
)

// What a file and any entry weigh beside the bytes of a file: opening one on a shared file
// system takes about as long as reading that many bytes.
const (
	fileWeight  = 64 << 10
	entryWeight = 4 << 10
)

// A place is where the sequence of entries may be cut: before the entry with the path.
// What comes before it is counted.
type place struct {
	path                  string
	entries, files, bytes int64
}

func (p place) weight() int64 {
	return p.bytes + fileWeight*p.files + entryWeight*p.entries
}

// A cutter finds where to cut a sequence whose length is not known before its end. It
// keeps a bounded number of places, spread evenly: the more has come, the coarser.
type cutter struct {
	most   int // places to keep
	step   int64
	places []place
	now    place // what has come so far
}

func newCutter(shards int) *cutter { return &cutter{most: max(4096, 32*shards)} }

// add takes the next entry.
func (c *cutter) add(f uploader.Found) {
	c.now.path = f.Path
	if n := len(c.places); n == 0 || f.Cut && c.now.weight()-c.places[n-1].weight() >= c.step {
		c.places = append(c.places, c.now)
	}
	if len(c.places) >= c.most {
		c.thin()
	}
	c.now.entries++
	if f.IsFile() {
		c.now.files++
		c.now.bytes += f.Size
	}
}

// thin leaves out about half of the places.
func (c *cutter) thin() {
	c.step = max(2*c.step, c.now.weight()/int64(c.most/2))
	last := c.places[0]
	rest := slices.DeleteFunc(c.places[1:], func(p place) bool {
		if p.weight()-last.weight() < c.step {
			return true
		}
		last = p
		return false
	})
	c.places = c.places[:1+len(rest)]
}

// shards cuts the sequence into n runs of about the same weight. Some may be empty.
func (c *cutter) shards(n int) []codec.PlanShard {
	if len(c.places) == 0 {
		return make([]codec.PlanShard, n)
	}
	end := c.now
	cuts := append(c.places[:len(c.places):len(c.places)], end)
	out := make([]codec.PlanShard, 0, n)
	at := 0
	for k := 1; k <= n; k++ {
		next := len(cuts) - 1
		if k < n {
			next = max(nearest(cuts, weightAt(end.weight(), k, n)), at)
		}
		a, b := cuts[at], cuts[next]
		s := codec.PlanShard{Entries: b.entries - a.entries, Files: b.files - a.files, Bytes: b.bytes - a.bytes}
		if s.Entries > 0 {
			s.From = a.path
		}
		out = append(out, s)
		at = next
	}
	return out
}

// weightAt returns k/n of the weight, without overflow.
func weightAt(weight int64, k, n int) int64 {
	return weight/int64(n)*int64(k) + weight%int64(n)*int64(k)/int64(n)
}

// nearest returns the place of which the weight before it is nearest to the target.
func nearest(cuts []place, target int64) int {
	i := sort.Search(len(cuts), func(i int) bool { return cuts[i].weight() >= target })
	if i == len(cuts) || i > 0 && target-cuts[i-1].weight() < cuts[i].weight()-target {
		i--
	}
	return i
}
