// Package workers runs functions in goroutines that a caller of vaultpack does not know
// about. Such a function may call the caller's code, such as a Store, a key service or
// a callback, which may end in any way: with an error, with a panic, or with
// runtime.Goexit, as testing's FailNow does. The package then ends the goroutine that
// asked for the work in the same way, so that the caller's recover and deferred
// functions take effect.
package workers

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

// A Panic is the value with which a panic continues in the goroutine that asked for the
// work. If the function panicked with an error, it wraps that error.
type Panic struct {
	Value any
	Stack []byte // of the goroutine in which it happened
}

func (p *Panic) Error() string {
	return fmt.Sprintf("%v\n\nin another goroutine of vaultpack:\n%s", p.Value, p.Stack)
}

func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// An end says how a function ended that did not return; nil if it returned.
type end struct{ thrown *Panic } // nil after a runtime.Goexit

// call calls f. Neither a panic nor a runtime.Goexit in f gets past it: after a Goexit
// nothing more happens in its goroutine, except for deferred calls.
func call(to **end, f func()) {
	returned := false
	defer func() {
		if returned {
			return
		}
		*to = &end{}
		switch v := recover().(type) {
		case nil:
		case *Panic: // from a function that f ran concurrently
			(*to).thrown = v
		default:
			(*to).thrown = &Panic{v, debug.Stack()}
		}
	}()
	f()
	returned = true
}

// resume ends the calling goroutine in the same way.
func (e *end) resume() {
	switch {
	case e == nil:
	case e.thrown != nil:
		panic(e.thrown)
	default:
		runtime.Goexit()
	}
}

// A Guard calls functions in goroutines that others have started. The zero value is
// ready.
type Guard struct {
	mu    sync.Mutex
	first *end // the first that did not return
}

// Call calls f, and reports whether it returned.
func (g *Guard) Call(f func()) bool {
	var how *end
	defer func() { // runs after a runtime.Goexit too
		if how == nil {
			return
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.first == nil {
			g.first = how
		}
	}()
	call(&how, f)
	return how == nil
}

// Resume ends the calling goroutine in the way of the first function that did not return.
func (g *Guard) Resume() {
	g.mu.Lock()
	how := g.first
	g.mu.Unlock()
	how.resume()
}

// Beside runs f in a new goroutine. The function that it returns waits for f to end, and
// then returns what f returned, or ends its own goroutine as f ended. It must be called,
// even if the result is no longer needed.
func Beside[T any](f func() T) (wait func() T) {
	var out T
	var how *end
	done := make(chan struct{})
	go func() {
		defer close(done)
		call(&how, func() { out = f() })
	}()
	return func() T {
		<-done
		how.resume()
		return out
	}
}

// A Group runs the functions of one call of Run.
type Group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	slots  chan struct{}
	wg     sync.WaitGroup
	guard  Guard
}

var errEnded = errors.New("a function has not returned")

// Run calls f, which starts functions with the Group's Go, at most n of them at once. It
// returns when f and all of these have returned. The first error of any of them ends the
// context that f gets, and is that context's cause, which Run returns; it returns nil if
// the context has not ended. A panic or runtime.Goexit ends the context too, and
// continues in Run.
func Run(ctx context.Context, n int, f func(context.Context, *Group) error) error {
	g := &Group{slots: make(chan struct{}, max(n, 1))}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	defer func() { // even if f does not return: the functions that it started are not left behind
		g.cancel(errEnded)
		g.wg.Wait()
	}()
	if err := f(g.ctx, g); err != nil {
		g.cancel(err)
	}
	g.wg.Wait()
	g.guard.Resume()
	return context.Cause(g.ctx)
}

// Go runs f in a new goroutine, once there is room. If the context has ended, it
// returns false without running f.
func (g *Group) Go(f func() error) bool {
	if g.ctx.Err() != nil {
		return false
	}
	select {
	case g.slots <- struct{}{}:
	case <-g.ctx.Done():
		return false
	}
	g.wg.Go(func() {
		err := errEnded
		defer func() {
			if err != nil {
				g.cancel(err)
			}
			<-g.slots
		}()
		g.guard.Call(func() { err = f() })
	})
	return true
}
