package unwind

import (
	"runtime"
	"testing"
)

// deep calls f below so many frames.
func deep(n int, f func()) {
	if n == 0 {
		f()
		return
	}
	defer func() {}() // not to be a loop
	deep(n-1, f)
}

// Panics and Goexits are counted while they unwind, however deep the stack is, and not any
// more once they are recovered.
func TestCount(t *testing.T) {
	want := func(what string, n int) {
		t.Helper()
		if got := Count(); got != n {
			t.Errorf("%s: %d, want %d", what, got, n)
		}
	}
	for _, depth := range []int{0, 1, 62, 63, 64, 65, 300} {
		deep(depth, func() {
			want("in good order", 0)
			func() {
				defer func() { recover(); want("while it is being recovered", 1) }()
				defer func() {
					deep(depth, func() { want("in a panic", 1) })
					func() {
						defer func() { recover() }()
						defer want("in a panic of a panic", 2)
						panic("another")
					}()
					want("after the second was recovered", 1)
				}()
				panic("one")
			}()
			func() {
				defer func() { recover() }()
				defer want("in a fault of the runtime", 1)
				_ = make([]int, 0, 1)[len(t.Name())] // out of range
			}()
			want("after all were recovered", 0)
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer deep(depth, func() { want("in a Goexit", 1) })
				runtime.Goexit()
			}()
			<-done
		})
	}
	if n := testing.AllocsPerRun(100, func() { Count() }); n > 0 {
		t.Errorf("Count allocates %v times", n)
	}
}

func BenchmarkCount(b *testing.B) {
	deep(10, func() {
		for b.Loop() {
			Count()
		}
	})
}
