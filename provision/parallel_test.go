package provision

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vaultpack/vaultpack/internal/workers"
)

// A callback that panics does so in the goroutine that has called this package, and
// leaves nothing locked.
func TestParallelCallbacks(t *testing.T) {
	errTrap := errors.New("the callback panics")
	var done atomic.Int64
	p := &Provisioner{mu: new(sync.Mutex), OnProgress: func(string, int, int) { panic(errTrap) }}
	var value error
	func() {
		defer func() { value, _ = recover().(error) }()
		p.parallel(100, "things", func(int) error { done.Add(1); return nil })
	}()
	if p := (*workers.Panic)(nil); !errors.Is(value, errTrap) || !errors.As(value, &p) {
		t.Errorf("recovered %v", value)
	}
	p.OnProgress = nil
	errs := []error{errors.New("0"), errors.New("1")}
	done.Store(0)
	if err := p.parallel(100, "things", func(i int) error { done.Add(1); return errs[min(i, 1)] }); err != errs[0] || done.Load() != 100 {
		t.Errorf("%v, and %d of 100 were done", err, done.Load())
	}
}
