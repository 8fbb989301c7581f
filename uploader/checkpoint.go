package uploader

import (
	"context"
	"sync"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// A checkpointer records finished packs in the vault while the upload goes on.
type checkpointer struct {
	to *dataset.Checkpoint // nil in a dry run

	mu    sync.Mutex
	done  map[string]*dataset.Entry // by path, since the last record
	added chan struct{}
}

func newCheckpointer(d *dataset.Dataset, key *envelope.DataKey, source string, dry bool) *checkpointer {
	c := &checkpointer{done: map[string]*dataset.Entry{}, added: make(chan struct{}, 1)}
	if !dry {
		c.to = d.NewCheckpoint(key, source)
	}
	return c
}

// add notes what a finished job has put into the vault.
func (c *checkpointer) add(j *job, items []*item) {
	c.mu.Lock()
	for _, it := range items {
		e := c.done[it.entry.Path]
		if e == nil || !sameFile(it.entry, e) {
			copied := *it.entry
			e = &copied
			if j.piece {
				e.Extents = nil
			}
			c.done[e.Path] = e
		}
		if j.piece {
			e.Extents = append(e.Extents, dataset.Extent{Pack: j.pack, Length: j.n, At: j.off})
		}
	}
	c.mu.Unlock()
	select {
	case c.added <- struct{}{}:
	default:
	}
}

// start records what is added until the context ends or the function that it
// returns is called, which records what is left. What is finished while a record
// is being written waits for the next, so that small packs share records. Before
// that it waits as long as the last one took, so that recording takes at most half
// of the time of one goroutine.
func (c *checkpointer) start(ctx context.Context, stop func(error)) (finish func()) {
	if c.to == nil {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-c.added:
			case <-quit:
				return
			}
			began := time.Now()
			if err := c.record(ctx); err != nil {
				stop(err)
			}
			select {
			case <-time.After(time.Since(began)):
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
		if ctx.Err() == nil {
			// The version will be committed in a moment, and if that fails
			// record is called then.
			return
		}
		// Interrupted: what is finished is not lost.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		c.record(ctx)
	}
}

// record writes what has been added since the last record.
func (c *checkpointer) record(ctx context.Context) error {
	c.mu.Lock()
	var entries []*dataset.Entry
	for _, e := range c.done {
		entries = append(entries, e)
	}
	clear(c.done)
	c.mu.Unlock()
	if len(entries) == 0 {
		return nil
	}
	err := c.to.Write(ctx, entries)
	if err != nil {
		// For the next try: the one that an interruption has broken off is
		// followed by a last one.
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, e := range entries {
			if later := c.done[e.Path]; later == nil {
				c.done[e.Path] = e
			} else if sameFile(e, later) { // more pieces have come since
				later.Extents = append(e.Extents, later.Extents...)
			}
		}
	}
	return err
}

// remove deletes the records after the commit.
func (c *checkpointer) remove(ctx context.Context) error { return c.to.Remove(ctx) }
