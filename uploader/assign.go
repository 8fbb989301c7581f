package uploader

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/tarpack"
)

// sample settles the files of one sample, which share a pack. If one of them has to be
// sent, all are, unless they are a series or too large for one pack: then each is settled
// separately.
func (p *planner) sample(items []*item) error {
	if !slices.ContainsFunc(items, func(it *item) bool { return !it.trusted }) {
		for _, it := range items {
			p.reuse(it)
		}
		return nil
	}
	size := int64(0)
	for _, it := range items {
		size += tarpack.Size(it.entry)
	}
	together := len(items) > 1 && size+tarpack.End <= p.PackSize && !series(items)
	if together {
		for _, it := range items {
			it.sample = items
		}
		return p.place(items, size)
	}
	for _, it := range items {
		if it.trusted {
			p.reuse(it)
		} else if err := p.place([]*item{it}, tarpack.Size(it.entry)); err != nil {
			return err
		}
	}
	return nil
}

// place puts files that share a pack into one, now or when more have arrived.
func (p *planner) place(items []*item, size int64) error {
	if p.Shuffle {
		p.shuffled(items, size)
		return nil
	}
	return p.pack(items, size)
}

// pack adds files to the pack being filled, or to the next one.
func (p *planner) pack(items []*item, size int64) error {
	if p.open != nil && p.fill+size+tarpack.End > p.PackSize {
		if err := p.dispatchAndSend(); err != nil {
			return err
		}
	}
	if p.open == nil {
		p.open = &job{done: make(chan struct{})}
	}
	p.open.items = append(p.open.items, items...)
	p.fill += size
	for _, it := range items {
		it.jobs = []*job{p.open}
	}
	return nil
}

// series reports whether files that share a name up to the first dot are numbered
// (img.001.jpg, img.002.jpg), so that they are not the parts of one sample (img.jpg,
// img.json).
func series(items []*item) bool {
	seen := map[string]bool{}
	for _, it := range items {
		name := it.entry.Path[strings.LastIndexByte(it.entry.Path, '/')+1:]
		rest := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, name[len(sampleStem(name)):])
		if seen[rest] {
			return true
		}
		seen[rest] = true
	}
	return false
}

// closeSamples settles, in order, the samples that are still incomplete.
func (p *planner) closeSamples() error {
	for _, key := range slices.Sorted(maps.Keys(p.samples)) {
		items := p.samples[key]
		delete(p.samples, key)
		if err := p.sample(items); err != nil {
			return err
		}
	}
	return nil
}

// large sends each piece of a file that is not in the vault yet.
func (p *planner) large(it *item, candidates []*tree.Entry) error {
	holes := p.findHoles(it)
	defer holes.close()
	for _, j := range p.cut(it, p.knownPieces(it, candidates)) {
		it.jobs = append(it.jobs, j)
		if j.takeTrusted() || holes.share(j) {
			continue
		}
		if err := p.start(j); err != nil {
			return err
		}
	}
	it.settled = true
	return nil
}

// knownPieces returns the runs of a large file that the vault may have, by their offsets
// in the file: from the previous version, from unfinished uploads, and from a file of the
// same size under another name.
func (p *planner) knownPieces(it *item, candidates []*tree.Entry) map[int64][]knownExtent {
	found := map[int64][]knownExtent{}
	take := func(e *tree.Entry, pending bool) {
		trusted := e.Path == it.entry.Path && p.trusts(it.entry, e)
		has := p.hasPackOrWarn
		if pending {
			has = p.hasPack
		}
		for _, x := range e.Extents {
			if (trusted || p.compares() && summed([]tree.Extent{x})) && has(x.Pack) {
				found[x.At] = append(found[x.At], knownExtent{x, trusted, pending})
			}
		}
	}
	if it.then != nil && it.then.IsFile() {
		take(it.then, false)
	}
	for _, c := range candidates {
		take(c, true)
	}
	if p.compares() {
		for _, e := range p.elsewhere.large(p.ctx, it.entry.Size) {
			take(e, false)
		}
	}
	for _, xs := range found {
		slices.SortStableFunc(xs, func(a, b knownExtent) int { return cmp.Compare(rank(a), rank(b)) })
	}
	return found
}

// rank sorts what need not be read to the front.
func rank(x knownExtent) int {
	if x.trusted {
		return 0
	}
	return 1
}

// cut cuts a large file into pieces: at the same places as before as far as possible, and
// then by the size of a pack.
func (u *upload) cut(it *item, found map[int64][]knownExtent) []*job {
	var jobs []*job
	for off := int64(0); off == 0 || off < it.entry.Size; {
		j := &job{items: []*item{it}, off: off, n: min(u.PackSize, it.entry.Size-off), piece: true, done: make(chan struct{})}
		for _, x := range found[off] {
			// A short last piece of a file that has grown is not kept: otherwise the file
			// would end up in ever smaller pieces.
			if len(j.known) == 0 && x.Length > 0 && (x.Length >= u.PackSize || off+x.Length == it.entry.Size) && off+x.Length <= it.entry.Size {
				j.n = x.Length
			}
			if x.Length == j.n {
				j.known = append(j.known, x)
			}
		}
		jobs = append(jobs, j)
		off += j.n
		if j.n == 0 {
			break
		}
	}
	return jobs
}

// takeTrusted settles a piece that is in the vault if the file's times say so.
func (j *job) takeTrusted() bool {
	if len(j.known) == 0 || !j.known[0].trusted {
		return false
	}
	j.reuse(j.known[0])
	close(j.done)
	return true
}

func (j *job) reuse(x knownExtent) {
	j.extent, j.pack = x.Extent, x.Pack
	j.extent.At = j.off
	j.reused, j.resumed = true, x.pending
}

// dispatch sends the pack being filled to a worker.
func (p *planner) dispatch() error {
	if err := p.mix(); err != nil {
		return err
	}
	if p.open == nil {
		return nil
	}
	j := p.open
	p.open, p.fill = nil, 0
	for _, it := range j.items {
		it.settled = true
	}
	return p.start(j)
}

func (p *planner) dispatchAndSend() error {
	if err := p.dispatch(); err != nil {
		return err
	}
	return p.send()
}

func (p *planner) start(j *job) error {
	select {
	case p.jobs <- j:
		return p.check.began(p.ctx, j)
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// send passes on the settled items at the head of the window.
func (p *planner) send() error {
	n := 0
	for n < len(p.window) && p.window[n].settled {
		n++
	}
	if n == 0 {
		return nil
	}
	select {
	case p.windows <- p.window[:n:n]:
		p.window = append([]*item(nil), p.window[n:]...)
		return nil
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}
