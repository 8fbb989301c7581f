// Package arena gives benchmarks large buffers outside Go's heap. On the heap
// they would raise the garbage collector's target so far that it never ran, and
// code that relies on pools would look better than in a program with little else in
// memory.
package arena

import (
	"fmt"
	"math/rand/v2"
	"sync"
)

// An Arena is a buffer that grows in place, up to the size it was made for,
// and stays for the life of the process.
type Arena struct {
	max  int
	fill func([]byte)

	mu    sync.Mutex
	b     []byte
	ready int // bytes that have been touched or filled
}

// New makes an arena for up to max bytes. Memory is taken only when it is asked for.
func New(max int) *Arena { return &Arena{max: max, fill: clearPages} }

// NewRandom is like New, with contents that look random and are the same in every
// run.
func NewRandom(max int) *Arena {
	r := rand.NewChaCha8([32]byte{})
	return &Arena{max: max, fill: func(b []byte) { r.Read(b) }}
}

// Bytes returns the first n bytes, with their pages in memory, so that no page
// fault occurs during a measurement. It panics if n exceeds the arena's size.
func (a *Arena) Bytes(n int) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n > a.max {
		panic(fmt.Sprintf("arena: %d bytes of %d", n, a.max))
	}
	if a.b == nil {
		a.b = reserve(a.max)
	}
	if n > a.ready {
		a.fill(a.b[a.ready:n])
		a.ready = n
	}
	return a.b[:n:n]
}

func clearPages(b []byte) { clear(b) }
