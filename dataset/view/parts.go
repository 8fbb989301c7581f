package view

import (
	"context"
	"iter"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// parts keeps the parts of the index that were used last.
type parts struct {
	ctx    context.Context
	shared *shared
	limit  int64

	mu     sync.Mutex
	kept   map[int]*part
	order  []int // of what is kept: the one used last at the end
	weight int64
}

// A part is one part of the index. Its fields are set once ready is closed.
type part struct {
	ready   chan struct{}
	entries []*tree.Entry
	weight  int64
	err     error
	guard   workers.Guard
	ok      bool // false if reading it has not returned
}

func newParts(ctx context.Context, s *shared, limit int64) *parts {
	return &parts{ctx: ctx, shared: s, limit: limit, kept: map[int]*part{}}
}

// get returns the entries of part i. One part is read once, however many ask for it.
func (p *parts) get(ctx context.Context, i int) ([]*tree.Entry, error) {
	p.mu.Lock()
	got := p.kept[i]
	if got == nil {
		done, err := p.shared.enter()
		if err != nil {
			p.mu.Unlock()
			return nil, err
		}
		got = &part{ready: make(chan struct{})}
		p.kept[i] = got
		go func() {
			defer done()
			p.read(i, got)
		}()
	} else if at := slices.Index(p.order, i); at >= 0 {
		p.order = append(slices.Delete(p.order, at, at+1), i)
	}
	p.mu.Unlock()
	select {
	case <-got.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !got.ok {
		got.guard.Resume()
	}
	return got.entries, got.err
}

// read reads part i, and forgets others if they take too much together.
func (p *parts) read(i int, got *part) {
	got.ok = got.guard.Call(func() { got.entries, got.err = p.shared.version.ReadPart(p.ctx, i) })
	for _, e := range got.entries {
		got.weight += int64(codec.Weight(e))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if close(got.ready); !got.ok || got.err != nil {
		delete(p.kept, i) // the next read tries again
		return
	}
	p.order = append(p.order, i)
	p.weight += got.weight
	for p.weight > p.limit && len(p.order) > 1 {
		oldest := p.order[0]
		p.weight -= p.kept[oldest].weight
		delete(p.kept, oldest)
		p.order = p.order[1:]
	}
}

func (p *parts) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept, p.order, p.weight = map[int]*part{}, nil, 0
}

// first returns the first entry whose path is not before path, or nil after the last.
func (v *View) first(path string) (*tree.Entry, error) {
	for e, err := range v.from(path) {
		return e, err
	}
	return nil, nil
}

// from yields the entries from path on. It takes them from the parts that are kept.
func (v *View) from(path string) iter.Seq2[*tree.Entry, error] {
	return func(yield func(*tree.Entry, error) bool) {
		all := v.version.Parts
		// The part that holds path is the last whose first entry is not after it.
		start := sort.Search(len(all), func(i int) bool { return all[i].First > path })
		for i := max(start-1, 0); i < len(all); i++ {
			entries, err := v.parts.get(v.ctx, i)
			if err != nil {
				yield(nil, err)
				return
			}
			at := sort.Search(len(entries), func(k int) bool { return entries[k].Path >= path })
			for _, e := range entries[at:] {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// Entries yields the version's entries in the order of their paths, from the first whose
// path is not before from. Unlike [dataset.Version.EntriesFrom], it reads no part of the
// index twice that is still in memory.
func (v *View) Entries(from string) iter.Seq2[*tree.Entry, error] {
	return func(yield func(*tree.Entry, error) bool) {
		if v == nil || v.shared == nil {
			yield(nil, errNoView)
			return
		}
		done, err := v.begin()
		if err != nil {
			yield(nil, err)
			return
		}
		done() // yield may close the view
		for e, err := range v.from(from) {
			if !yield(e, err) {
				return
			}
		}
	}
}

// find returns the file, link or folder at path, as it is in the index. A folder that has
// no entry of its own, but has files, gets one. It returns nil if there is nothing.
func (v *View) find(path string) (*tree.Entry, error) {
	if path == "." {
		e, err := v.first("")
		if err != nil || e != nil && e.Path == "" {
			return e, err
		}
		return implicit(""), nil
	}
	e, err := v.first(path)
	if err != nil {
		return nil, err
	}
	if e != nil && e.Path == path {
		return e, nil
	}
	folder := path + "/"
	if e == nil || e.Path < folder { // such as path + "-"
		if e, err = v.first(folder); err != nil {
			return nil, err
		}
	}
	switch {
	case e == nil || !strings.HasPrefix(e.Path, folder):
		return nil, nil
	case e.Path == folder:
		return e, nil
	}
	return implicit(folder), nil
}

// implicit is the entry of a folder that has none.
func implicit(path string) *tree.Entry { return &tree.Entry{Path: path, Mode: 0o755} }
