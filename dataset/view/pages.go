package view

import (
	"context"
	"sync"

	"github.com/vaultpack/vaultpack/dataset/cache"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// A pageKey names a page of a pack's plaintext.
type pageKey struct {
	pack envelope.ObjectID
	n    int64
}

// A slot holds one page, opened. It is in the map of its pages until it is
// evicted or has failed. All fields but those of "set" are guarded by pages.mu.
type slot struct {
	key  pageKey
	refs int // readers that copy out of it or wait for it, and its fetch

	// window is how many pages were read ahead when this one was asked for. Where
	// the next one is asked for, more are: reading is sequential there.
	window int
	// ahead is the page up to which was read ahead, of the first page of what was;
	// else 0. When it is used, what follows is fetched. So a reader waits seldom.
	ahead int64

	prev, next *slot // in the list of what may be evicted, the one used last at its end

	ready chan struct{}
	// set once ready is closed
	data  []byte
	err   error
	guard *workers.Guard // if the fetch did not return
}

// pages keeps the pages that were used last, and fetches others.
type pages struct {
	ctx     context.Context
	shared  *shared
	fetches chan struct{} // bounds the requests at one time
	heads   heads
	cache   *cache.Cache // nil if there is none

	mu     sync.Mutex
	slots  map[pageKey]*slot
	idle   slot // the head of the list: idle.next was used longest ago
	unused int  // how many more may be made
	total  int
	busy   int // those with references
	free   [][]byte
	freed  chan struct{} // closed when a slot has become free; nil if nobody waits
}

// maxFetches is how many requests are under way at one time.
const maxFetches = 16

func newPages(ctx context.Context, s *shared, memory int64, disk *cache.Cache) *pages {
	n := int(min(memory/pageSize, 1<<30))
	c := &pages{ctx: ctx, shared: s, cache: disk, fetches: make(chan struct{}, maxFetches),
		slots: map[pageKey]*slot{}, unused: n, total: n}
	c.idle.prev, c.idle.next = &c.idle, &c.idle
	return c
}

// unlink takes a slot off the list of what may be evicted.
func (s *slot) unlink() {
	if s.prev != nil {
		s.prev.next, s.next.prev = s.next, s.prev
		s.prev, s.next = nil, nil
	}
}

// take returns the slot of a page that is kept or under way, for release.
func (c *pages) take(key pageKey) *slot {
	s := c.slots[key]
	if s != nil {
		if s.refs == 0 {
			s.unlink()
			c.busy++
		}
		s.refs++
	}
	return s
}

// make makes a slot for a page that is not kept, with a reference for the fetch,
// or returns nil if all are in use.
func (c *pages) make(key pageKey) *slot {
	var buf []byte
	switch {
	case len(c.free) > 0:
		buf = c.free[len(c.free)-1]
		c.free = c.free[:len(c.free)-1]
	case c.unused > 0:
		c.unused--
		buf = make([]byte, pageSize)
	default:
		old := c.idle.next
		if old == &c.idle {
			return nil
		}
		old.unlink()
		delete(c.slots, old.key)
		buf, old.data = old.data[:cap(old.data)], nil
	}
	s := &slot{key: key, refs: 1, ready: make(chan struct{}), data: buf}
	c.slots[key] = s
	c.busy++
	return s
}

// release gives up a slot that take or make has returned.
func (c *pages) release(all ...*slot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range all {
		if s.refs--; s.refs > 0 {
			continue
		}
		c.busy--
		if s.err != nil || s.guard != nil { // it is not in the map any more
			c.free = append(c.free, s.data[:cap(s.data)])
			s.data = nil
		} else {
			s.prev, s.next = c.idle.prev, &c.idle
			s.prev.next, c.idle.prev = s, s
		}
		if c.freed != nil {
			close(c.freed)
			c.freed = nil
		}
	}
}

// wait returns what is closed when the next slot becomes free.
func (c *pages) wait() <-chan struct{} {
	if c.freed == nil {
		c.freed = make(chan struct{})
	}
	return c.freed
}

// fail tells those who wait for slots that these will not come.
func (c *pages) fail(all []*slot, err error, guard *workers.Guard) {
	c.mu.Lock()
	for _, s := range all {
		s.err, s.guard = err, guard
		delete(c.slots, s.key) // the next read tries again
		close(s.ready)
	}
	c.mu.Unlock()
	c.release(all...)
}

func (c *pages) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.slots {
		clear(s.data)
	}
	for _, b := range c.free {
		clear(b)
	}
	c.slots, c.free = map[pageKey]*slot{}, nil
	c.idle.prev, c.idle.next = &c.idle, &c.idle
}

// A run is what one request fetches: pages of one pack, in order.
type run struct {
	pack  *tree.Object
	size  int64 // of the pack's plaintext
	slots []*slot
}

// start begins to fetch a run. Each of its slots becomes ready on its own.
func (c *pages) start(r run) {
	done, err := c.shared.enter()
	if err != nil {
		c.fail(r.slots, err, nil)
		return
	}
	go func() {
		defer done()
		rest := r.slots
		guard := new(workers.Guard)
		if !guard.Call(func() { rest, err = c.fetch(r) }) {
			c.fail(unready(r.slots), errNotFetched, guard)
			return
		}
		if err != nil {
			c.fail(rest, err, nil)
		}
	}()
}

// unready are the slots from the first that is not ready.
func unready(all []*slot) []*slot {
	for i, s := range all {
		select {
		case <-s.ready:
		default:
			return all[i:]
		}
	}
	return nil
}
