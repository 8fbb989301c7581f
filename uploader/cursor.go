package uploader

import (
	"iter"

	"github.com/vaultpack/vaultpack/dataset"
)

// A cursor goes through entries that were asked for as a sequence. One that nobody
// has looked at needs no stop.
type cursor struct {
	seq   iter.Seq2[*dataset.Entry, error]
	pull  func() (*dataset.Entry, error, bool)
	end   func()
	ahead *dataset.Entry
	err   error
	ended bool
}

func newCursor(seq iter.Seq2[*dataset.Entry, error]) *cursor { return &cursor{seq: seq} }

// peek gives the next entry, or nil at the end.
func (c *cursor) peek() (*dataset.Entry, error) {
	if c.ahead == nil && c.err == nil && !c.ended {
		if c.pull == nil {
			c.pull, c.end = iter.Pull2(c.seq)
		}
		e, err, ok := c.pull()
		c.ahead, c.err, c.ended = e, err, !ok
	}
	return c.ahead, c.err
}

// stop ends the sequence.
func (c *cursor) stop() {
	if c.ended = true; c.end != nil {
		c.end()
	}
}

func (c *cursor) next() (*dataset.Entry, error) {
	e, err := c.peek()
	c.ahead = nil
	return e, err
}
