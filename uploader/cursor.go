package uploader

import (
	"iter"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// A cursor reads a sequence of entries step by step. A cursor on which peek was never
// called need not be stopped.
type cursor struct {
	seq   iter.Seq2[*tree.Entry, error]
	pull  func() (*tree.Entry, error, bool)
	end   func()
	ahead *tree.Entry
	err   error
	ended bool
}

func newCursor(seq iter.Seq2[*tree.Entry, error]) *cursor { return &cursor{seq: seq} }

// peek returns the next entry, or nil at the end.
func (c *cursor) peek() (*tree.Entry, error) {
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

func (c *cursor) next() (*tree.Entry, error) {
	e, err := c.peek()
	c.ahead = nil
	return e, err
}
