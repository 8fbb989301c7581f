package uploader

import (
	"context"

	"github.com/vaultpack/vaultpack/internal/workers"
)

// An ahead fetches some things in parallel, and gives them out in order. What it has fetched
// and not given out yet is bounded. Its methods are not safe for concurrent use; its user
// must call stop.
type ahead[T any] struct {
	ctx    context.Context
	cancel context.CancelFunc
	n      int
	weight func(i int) int64 // the memory that i takes
	fetch  func(ctx context.Context, i int) T

	begun  int
	queue  []func() T // those that were begun and not given out
	given  int
	memory int64 // of those in the queue and the one given out last
}

func newAhead[T any](ctx context.Context, n int, weight func(int) int64, fetch func(context.Context, int) T) *ahead[T] {
	a := &ahead[T]{n: n, weight: weight, fetch: fetch}
	a.ctx, a.cancel = context.WithCancel(ctx)
	return a
}

// next returns the next one, and false after the last. The one before it is no longer used.
func (a *ahead[T]) next() (out T, ok bool) {
	if a.given > 0 {
		a.memory -= a.weight(a.given - 1)
	}
	for a.begun < a.n && len(a.queue) < aheadMost && (len(a.queue) == 0 || a.memory+a.weight(a.begun) <= aheadMemory) {
		i := a.begun
		a.begun++
		a.memory += a.weight(i)
		a.queue = append(a.queue, workers.Beside(func() T { return a.fetch(a.ctx, i) }))
	}
	if len(a.queue) == 0 {
		return out, false
	}
	wait := a.queue[0]
	a.queue = a.queue[1:]
	a.given++
	return wait(), true
}

// stop ends what is being fetched.
func (a *ahead[T]) stop() {
	a.cancel()
	for _, wait := range a.queue {
		defer wait() // all of them, even if one does not return
	}
	a.queue, a.begun = nil, a.n
}
