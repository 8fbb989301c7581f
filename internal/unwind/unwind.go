// Package unwind tells a function that is called in good order from one that a panic, or a
// runtime.Goexit, calls on its way. What a deferred Close completes in the second case its
// owner has not meant to complete.
package unwind

import "runtime"

// Count is how many panics and runtime.Goexits the calling goroutine is in
// the middle of: their frames are below those of the deferred functions that
// they run. A panic counts until the deferred function that recovers it returns.
func Count() (n int) {
	pcs := make([]uintptr, 64)
	size := runtime.Callers(1, pcs)
	for size == len(pcs) {
		pcs = make([]uintptr, 4*len(pcs))
		size = runtime.Callers(1, pcs)
	}
	for _, pc := range pcs[:size] {
		if f := runtime.FuncForPC(pc - 1); f != nil && (f.Name() == "runtime.gopanic" || f.Name() == "runtime.Goexit") {
			n++
		}
	}
	return n
}
