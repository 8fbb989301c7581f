// Package unwind distinguishes a function that is called normally from one that is called
// while a panic or runtime.Goexit unwinds the stack. A deferred Close in the second case must
// not complete anything: its owner did not get to the end.
package unwind

import (
	"runtime"
	"sync"
)

// Count returns how many panics and runtime.Goexits the calling goroutine is in
// the middle of: their stack frames are below those of the deferred functions that
// they run. A panic counts until the deferred function that recovers it returns.
func Count() (n int) {
	var few [64]uintptr // on the stack: Count is called for each sealed file
	pcs := few[:]
	size := runtime.Callers(1, pcs)
	for size == len(pcs) {
		pcs = make([]uintptr, 4*len(pcs))
		size = runtime.Callers(1, pcs)
	}
	in := unwinding()
	for _, pc := range pcs[:size] {
		if pc-1-in.panics.entry < in.panics.size || pc-1-in.exits.entry < in.exits.size {
			n++
		}
	}
	return n
}

// A span is the code of a function: size bytes from its entry.
type span struct{ entry, size uintptr }

type spans struct{ panics, exits span }

// unwinding finds the code of runtime.gopanic and runtime.Goexit, by running both once.
// Looking up the name of each frame takes longer than sealing a small file.
var unwinding = sync.OnceValue(func() (s spans) {
	s.panics = spanOf("runtime.gopanic", func(look func()) {
		defer func() { recover() }()
		defer look()
		panic("to find the code of panics")
	})
	s.exits = spanOf("runtime.Goexit", func(look func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer look()
			runtime.Goexit()
		}()
		<-done
	})
	return s
})

// spanOf finds the code of the named function, which is on the stack below look while
// run runs.
func spanOf(name string, run func(look func())) (s span) {
	run(func() {
		var pcs [64]uintptr
		for _, pc := range pcs[:runtime.Callers(1, pcs[:])] {
			if f := runtime.FuncForPC(pc - 1); f != nil && f.Name() == name {
				s.entry = f.Entry()
			}
		}
	})
	if s.entry == 0 {
		panic("unwind: " + name + " is not found among its own frames") // the runtime has changed
	}
	for f := runtime.FuncForPC(s.entry); f != nil && f.Entry() == s.entry; f = runtime.FuncForPC(s.entry + s.size) {
		s.size++
	}
	return s
}
