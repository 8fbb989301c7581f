package envelope

import "sync/atomic"

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

// errSourceInterrupted is made once: catch runs for each segment.
var errSourceInterrupted = interrupted("the source")

// catch calls f, which may call a source of the caller's, and sets err to what f
// returns, also where that is nothing: it returns f's panic, and after a
// runtime.Goexit nothing more happens in its goroutine.
func catch(err *error, f func() error) (t *thrown) {
	returned := false
	*err = errSourceInterrupted
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
