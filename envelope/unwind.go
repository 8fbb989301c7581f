package envelope

import (
	"runtime"
	"sync/atomic"
)

// A turn is who may use a stream now: one call of one goroutine. It costs two
// atomic operations.
type turn struct{ state atomic.Int32 }

const (
	turnTaken = 1 << iota
	turnMissed
)

// take reports whether the caller has the turn. One that another call has is
// marked as missed for good: something was not done.
func (t *turn) take() bool {
	if old := t.state.Or(turnTaken); old&turnTaken == 0 {
		return true
	}
	t.state.Or(turnMissed)
	return false
}

// give ends the turn.
func (t *turn) give() { t.state.And(^int32(turnTaken)) }

// missed reports whether a call was refused.
func (t *turn) missed() bool { return t.state.Load()&turnMissed != 0 }

// A thrown is a panic of a caller's code in a goroutine that the caller does not
// know of, on its way to one that can recover it.
type thrown struct{ value any }

// catch calls f, which may call a source of the caller's, and sets err to what f
// returns, also where that is nothing: it returns f's panic, and after a
// runtime.Goexit nothing more happens in its goroutine.
func catch(err *error, f func() error) (t *thrown) {
	returned := false
	*err = interrupted("the source")
	defer func() {
		if !returned {
			if v := recover(); v != nil {
				t = &thrown{v}
			}
		}
	}()
	*err = f()
	returned = true
	return nil
}

// unwinding is how many panics and runtime.Goexits the calling goroutine is in
// the middle of: their frames are below those of the deferred functions that
// they run. A panic counts until the deferred function that recovers it returns.
func unwinding() (n int) {
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
