package uploader

import (
	"iter"

	"github.com/vaultpack/vaultpack/dataset"
)

// A cursor goes through entries that were asked for as a sequence.
type cursor struct {
	pull  func() (*dataset.Entry, error, bool)
	stop  func()
	ahead *dataset.Entry
	err   error
	ended bool
}

func newCursor(seq iter.Seq2[*dataset.Entry, error]) *cursor {
	c := &cursor{}
	c.pull, c.stop = iter.Pull2(seq)
	return c
}

// peek gives the next entry, or nil at the end.
func (c *cursor) peek() (*dataset.Entry, error) {
	if c.ahead == nil && c.err == nil && !c.ended {
		e, err, ok := c.pull()
		c.ahead, c.err, c.ended = e, err, !ok
	}
	return c.ahead, c.err
}

func (c *cursor) next() (*dataset.Entry, error) {
	e, err := c.peek()
	c.ahead = nil
	return e, err
}
