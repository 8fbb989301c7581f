// Package cut finds where to cut a sequence of entries into runs of about the same weight,
// in one pass and in bounded memory.
package cut

import (
	"cmp"
	"slices"
	"sort"
)

// What a file and any entry weigh beside the bytes of a file: opening one on a shared file
// system takes about as long as reading that many bytes.
const (
	FileWeight  = 64 << 10
	entryWeight = 4 << 10
)

// A Place is where the sequence may be cut: before the entry with the path. What comes
// before it is counted.
type Place struct {
	Path                  string
	Entries, Files, Bytes int64
}

// Weight is the weight of what comes before the place.
func (p Place) Weight() int64 {
	return p.Bytes + FileWeight*p.Files + entryWeight*p.Entries
}

// A Quality says how good it is to cut before an entry.
type Quality int

const (
	Never Quality = iota
	Possible
	Good
)

// A Run is a part of the sequence, from a place on.
type Run struct {
	Place // where it begins; its path is empty if it has nothing in it
	// Length is what the run has. Its path is empty.
	Length Place
}

// A Cutter keeps a bounded number of places, spread evenly: the more has come, the
// coarser. It is not for concurrent use.
type Cutter struct {
	most  int // places to keep of each quality
	kept  [Good + 1]places
	now   Place // what has come so far
	begun bool
}

type places struct {
	step   int64
	places []Place
}

// New returns a Cutter for n runs.
func New(n int) *Cutter { return &Cutter{most: max(4096, 32*n)} }

// Add takes the next entries: how many entries and files, and the bytes of the files. The
// sequence may be cut before the first of them, whose path is given.
func (c *Cutter) Add(q Quality, path string, what Place) {
	c.now.Path = path
	if !c.begun {
		q, c.begun = Good, true
	}
	if q != Never {
		c.kept[q].keep(c.now, c.most)
	}
	c.now.Entries += what.Entries
	c.now.Files += what.Files
	c.now.Bytes += what.Bytes
}

// Total returns what has come so far.
func (c *Cutter) Total() Place {
	p := c.now
	p.Path = ""
	return p
}

// keep keeps a place, if it is far enough from the one before.
func (l *places) keep(p Place, most int) {
	if n := len(l.places); n == 0 || p.Weight()-l.places[n-1].Weight() >= l.step {
		l.places = append(l.places, p)
	}
	if len(l.places) >= most {
		l.thin(most, p.Weight())
	}
}

// thin leaves out about half of the places.
func (l *places) thin(most int, weight int64) {
	l.step = max(2*l.step, weight/int64(most/2))
	last := l.places[0]
	rest := slices.DeleteFunc(l.places[1:], func(p Place) bool {
		if p.Weight()-last.Weight() < l.step {
			return true
		}
		last = p
		return false
	})
	l.places = l.places[:1+len(rest)]
}

// Runs cuts the sequence into n runs of about the same weight, at a good place where one is
// within a tenth of a run. Some may be empty.
func (c *Cutter) Runs(n int) []Run {
	out := make([]Run, 0, n)
	if !c.begun {
		return make([]Run, n)
	}
	end := c.now
	end.Path = ""
	good := append(slices.Clone(c.kept[Good].places), end)
	all := append(slices.Concat(c.kept[Possible].places, good[:len(good)-1]), end)
	slices.SortStableFunc(all, func(a, b Place) int { return cmp.Compare(a.Entries, b.Entries) })
	at := all[0]
	for k := 1; k <= n; k++ {
		next := end
		if target := weightAt(end.Weight(), k, n); k < n {
			if next = nearest(good, target); distance(next, target) > end.Weight()/int64(n)/10 {
				next = nearest(all, target)
			}
			if next.Entries < at.Entries {
				next = at
			}
		}
		r := Run{Length: Place{Entries: next.Entries - at.Entries, Files: next.Files - at.Files, Bytes: next.Bytes - at.Bytes}}
		if r.Length.Entries > 0 {
			r.Place = at
		}
		out = append(out, r)
		at = next
	}
	return out
}

// weightAt returns k/n of the weight, without overflow.
func weightAt(weight int64, k, n int) int64 {
	return weight/int64(n)*int64(k) + weight%int64(n)*int64(k)/int64(n)
}

func distance(p Place, target int64) int64 { return max(p.Weight()-target, target-p.Weight()) }

// nearest returns the place of which the weight before it is nearest to the target.
func nearest(cuts []Place, target int64) Place {
	i := sort.Search(len(cuts), func(i int) bool { return cuts[i].Weight() >= target })
	if i == len(cuts) || i > 0 && target-cuts[i-1].Weight() < cuts[i].Weight()-target {
		i--
	}
	return cuts[i]
}
