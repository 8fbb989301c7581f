package uploader

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/vaultpack/vaultpack/dataset"
)

// sample settles the files of one sample, which share a pack. If one of them has
// to be sent, all are.
func (p *planner) sample(items []*item) error {
	inOnePack := true
	for _, it := range items {
		x := it.entry.Extents
		inOnePack = inOnePack && len(x) > 0 && x[0].Pack.ID == items[0].entry.Extents[0].Pack.ID
	}
	if inOnePack {
		for _, it := range items {
			it.settled = true
		}
		return nil
	}
	size := int64(0)
	for _, it := range items {
		if it.unchanged {
			p.UnchangedFiles.Add(-1)
			p.SameBytes.Add(-it.entry.Size)
		} else if it.resumed {
			p.ResumedFiles.Add(-1)
			p.ResumedBytes.Add(-it.entry.Size)
		}
		entry := *it.entry
		entry.Extents, entry.Sum = nil, nil
		it.entry, it.unchanged = &entry, false
		size += tarSize(it.entry)
	}
	if p.open != nil && p.fill+size+tarEnd > p.PackSize {
		if err := p.dispatch(); err != nil {
			return err
		}
		if err := p.send(); err != nil {
			return err
		}
	}
	for _, it := range items {
		// A sample that no pack can hold is cut after all.
		if p.open != nil && p.fill+tarSize(it.entry)+tarEnd > p.PackSize {
			if err := p.dispatch(); err != nil {
				return err
			}
		}
		if p.open == nil {
			p.open = &job{done: make(chan struct{})}
		}
		p.open.items = append(p.open.items, it)
		p.fill += tarSize(it.entry)
		it.jobs = []*job{p.open}
	}
	return nil
}

// closeSamples settles the samples of which not all files have come, in order.
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
func (p *planner) large(it *item, candidates []*dataset.Entry) error {
	if p.Checksum {
		sum, err := sumFile(p.ctx, it)
		if err != nil {
			p.fail(it.entry.Path, err)
			it.failed, it.settled = err, true
			return nil
		}
		it.entry.Sum = sum
	}
	have := map[int64]dataset.Extent{}
	for _, c := range candidates {
		if sameFile(it.entry, c) && (!p.Checksum || bytes.Equal(it.entry.Sum, c.Sum)) {
			for _, x := range c.Extents {
				if x.Offset == 0 && p.hasPack(x.Pack) {
					have[x.At] = x
				}
			}
		}
	}
	resumed := true
	for off := int64(0); off < it.entry.Size; off += p.PackSize {
		j := &job{items: []*item{it}, off: off, n: min(p.PackSize, it.entry.Size-off), piece: true, done: make(chan struct{})}
		it.jobs = append(it.jobs, j)
		if x, ok := have[off]; ok && x.Length == j.n {
			j.pack = x.Pack
			close(j.done)
			p.ResumedBytes.Add(j.n)
			continue
		}
		resumed = false
		if err := p.start(j); err != nil {
			return err
		}
	}
	if it.resumed = resumed; resumed {
		p.ResumedFiles.Add(1)
	}
	it.settled = true
	return nil
}

// dispatch sends the pack being filled on its way.
func (p *planner) dispatch() error {
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

func (p *planner) start(j *job) error {
	select {
	case p.jobs <- j:
		return p.check.began(p.ctx, j)
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// send passes on the items at the head of the window that are settled.
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
