package uploader

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
)

// A checkpointer records finished packs in the vault while the upload continues, each in
// its own record. A pack is recorded once as many further packs have been begun as are
// written concurrently. So a short upload leaves no records, and the number of records
// depends only on the packs, not on time: a dry run can predict it.
type checkpointer struct {
	to  *commit.Lease
	key *envelope.DataKey
	lag int
	due chan *job

	mu      sync.Mutex
	begun   []*job // not yet due, in order
	waiting []*job // due, and not yet recorded
}

func newCheckpointer(to *commit.Lease, key *envelope.DataKey, lag int) *checkpointer {
	return &checkpointer{to: to, key: key, lag: lag, due: make(chan *job, lag)}
}

// began is called by the planner with each job that a worker has taken, in order.
func (c *checkpointer) began(ctx context.Context, j *job) error {
	c.mu.Lock()
	c.begun = append(c.begun, j)
	if len(c.begun) <= c.lag {
		c.mu.Unlock()
		return nil
	}
	first := c.begun[0]
	c.begun = c.begun[1:]
	c.waiting = append(c.waiting, first)
	c.mu.Unlock()
	select {
	case c.due <- first:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// add remembers a finished job for recordRest.
func (c *checkpointer) add(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = append(c.begun, j)
}

// run records what falls due, until no more jobs begin or the context ends.
func (c *checkpointer) run(ctx context.Context) error {
	for j := range c.due {
		select {
		case <-j.done:
			if err := c.record(ctx, j); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// interrupted records what is finished and not yet recorded, so that it is not lost.
func (c *checkpointer) interrupted(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	c.recordRest(ctx)
}

func (c *checkpointer) record(ctx context.Context, j *job) error {
	if len(j.record) > 0 {
		if err := c.to.Record(ctx, c.key, j.record); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(w *job) bool { return w == j })
	return nil
}

// recordRest records, in one record, what is finished and has none yet.
func (c *checkpointer) recordRest(ctx context.Context) error {
	c.mu.Lock()
	jobs := slices.Concat(c.waiting, c.begun)
	c.mu.Unlock()
	byPath := map[string]*tree.Entry{}
	for _, j := range jobs {
		select {
		case <-j.done:
		default:
			continue
		}
		for _, e := range j.record {
			if other := byPath[e.Path]; other != nil && sameFile(e, other) { // another piece of it
				merged := *other
				merged.Extents = slices.Concat(other.Extents, e.Extents)
				e = &merged
			}
			byPath[e.Path] = e
		}
	}
	entries := slices.Collect(maps.Values(byPath))
	if len(entries) == 0 {
		return nil
	}
	return c.to.Record(ctx, c.key, entries)
}
