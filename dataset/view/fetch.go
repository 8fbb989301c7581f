package view

import (
	"context"
	"errors"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

// Bounds of what is read at one time, in pages.
const (
	// maxRun is what one request fetches.
	maxRun = 8 << 20 / pageSize
	// maxWindow is what is read ahead of one reader.
	maxWindow = 32 << 20 / pageSize
	// firstWindow is what is read ahead where the caller says that it reads in order.
	firstWindow = 4 << 20 / pageSize
	// leastWindow is what is read ahead where the page before was read, too.
	leastWindow = 512 << 10 / pageSize
)

var errNotFetched = errors.New("view: reading has not returned")

// fetch opens the pages of a run with one request. If it fails, it returns those that have
// not become ready.
func (c *pages) fetch(r run) (rest []*slot, err error) {
	select {
	case c.fetches <- struct{}{}:
		defer func() { <-c.fetches }()
	case <-c.ctx.Done():
		return r.slots, c.ctx.Err()
	}
	l, err := newLoader(c, r)
	if err != nil {
		return r.slots, err
	}
	defer l.close()
	for i, s := range r.slots {
		fetched, err := l.load(i)
		if err != nil {
			return r.slots[i:], err
		}
		close(s.ready)
		if fetched {
			l.keep(s.key)
		}
		c.release(s)
	}
	return nil, nil
}

// An intent says how a caller reads.
type intent int

const (
	anyOrder intent = iota
	inOrder         // it is going to read what follows, too
)

// visit calls take with the plaintext of a pack from off on, n bytes that are all in the
// pack, piece by piece. take must not keep what it is given, and must not wait.
func (c *pages) visit(ctx context.Context, pack *tree.Object, off, n int64, how intent, take func([]byte)) error {
	size, err := pack.PlaintextSize()
	if err != nil {
		return c.shared.set.PackError(pack, err)
	}
	for end := off + n; off < end; {
		first, last := off/pageSize, (end-1)/pageSize
		taken, err := c.acquire(ctx, pack, size, first, last, how)
		if err != nil {
			return err
		}
		off, err = c.give(ctx, taken, off, end, take)
		c.release(taken...)
		if err != nil {
			return err
		}
	}
	return nil
}

// give passes the slots' bytes from off to end on, as each becomes ready, and returns how
// far it has come.
func (c *pages) give(ctx context.Context, taken []*slot, off, end int64, take func([]byte)) (int64, error) {
	for _, s := range taken {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return off, ctx.Err()
		}
		switch {
		case s.guard != nil:
			defer c.release(taken...) // Resume does not return
			s.guard.Resume()
		case s.err != nil:
			return off, s.err
		}
		start := s.key.n * pageSize
		b := s.data[off-start : min(end-start, int64(len(s.data)))]
		take(b)
		off += int64(len(b))
	}
	return off, nil
}

// acquire takes the slots of the pages from first to last, or of as many of them as
// are to be had at once, at least one, and begins to fetch those that are not kept.
func (c *pages) acquire(ctx context.Context, pack *tree.Object, size, first, last int64, how intent) ([]*slot, error) {
	last = min(last, first+int64(max(1, min(maxRun, c.total/4)))-1)
	for {
		c.mu.Lock()
		taken, runs := c.demand(pack, size, first, last, how)
		var freed <-chan struct{}
		if len(taken) == 0 {
			freed = c.wait()
		}
		c.mu.Unlock()
		for _, r := range runs {
			c.start(r)
		}
		if len(taken) > 0 {
			return taken, nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// demand takes what acquire returns, and tells what is to be fetched for it.
func (c *pages) demand(pack *tree.Object, size, first, last int64, how intent) (taken []*slot, runs []run) {
	window := 0
	if how == inOrder {
		window = firstWindow
	}
	if before := c.slots[pageKey{pack.ID, first - 1}]; before != nil {
		window = min(max(2*before.window, leastWindow, window), maxWindow)
	}
	var missing *run
	for n := first; n <= last; n++ {
		key := pageKey{pack.ID, n}
		s := c.take(key)
		if s == nil {
			if s = c.make(key); s == nil {
				break
			}
			s.refs++ // the reader's, beside that of the fetch
			s.window = window
			if missing == nil {
				runs = append(runs, run{pack: pack, size: size})
				missing = &runs[len(runs)-1]
			}
			missing.slots = append(missing.slots, s)
		} else {
			missing = nil
		}
		taken = append(taken, s)
		if s.ahead > 0 {
			from := s.ahead
			s.ahead = 0
			runs = append(runs, c.ahead(pack, size, from, min(max(2*s.window, leastWindow), maxWindow), nil)...)
			missing = nil
		}
	}
	if missing != nil && len(taken) > 0 && window > 0 {
		// What was asked for last is missing: what follows comes with the same request.
		i := len(runs) - 1
		more := c.ahead(pack, size, taken[len(taken)-1].key.n+1, window, runs[i].slots)
		if len(more) > 0 {
			runs = append(runs[:i], more...)
		}
	}
	return taken, runs
}

// wanted makes slots for pages that are going to be read, in any order, and returns the
// runs that fetch them. It stops where so many slots are in use that the rest is left to
// those who wait for theirs.
func (c *pages) wanted(all []pageKey, packs map[envelope.ObjectID]*tree.Object) (runs []run) {
	for _, key := range all {
		if c.slots[key] != nil {
			continue
		}
		if c.busy >= c.total/2 {
			break
		}
		s := c.make(key)
		if s == nil {
			break
		}
		n := len(runs)
		if n > 0 {
			last := runs[n-1].slots[len(runs[n-1].slots)-1].key
			if last.pack == key.pack && last.n+1 == key.n && len(runs[n-1].slots) < maxRun {
				runs[n-1].slots = append(runs[n-1].slots, s)
				continue
			}
		}
		size, _ := packs[key.pack].PlaintextSize() // the caller has checked it
		runs = append(runs, run{pack: packs[key.pack], size: size, slots: []*slot{s}})
	}
	return runs
}

// ahead makes slots for up to window pages from a page on, in runs of which the
// first goes on with begun. It stops at one that is kept or under way, and where so many
// slots are in use that the rest is left to those who wait for theirs.
func (c *pages) ahead(pack *tree.Object, size, from int64, window int, begun []*slot) (runs []run) {
	end := min(from+int64(window), (size+pageSize-1)/pageSize)
	r := run{pack: pack, size: size, slots: begun}
	var marked *slot
	for n := from; n < end; n++ {
		key := pageKey{pack.ID, n}
		if c.slots[key] != nil || c.busy >= c.total/2 {
			break
		}
		s := c.make(key)
		if s == nil {
			break
		}
		s.window = window
		if marked == nil {
			marked = s
		}
		marked.ahead = n + 1
		if len(r.slots) >= maxRun {
			runs = append(runs, r)
			r.slots = nil
		}
		r.slots = append(r.slots, s)
	}
	if marked == nil {
		return nil
	}
	return append(runs, r)
}
