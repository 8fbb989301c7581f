package workers_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vaultpack/vaultpack/internal/workers"
)

// ends runs f in a goroutine and tells how it has ended: with a value to recover, by
// runtime.Goexit, or with an error.
func ends(f func() error) (recovered any, exited bool, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		exited = true
		defer func() {
			if recovered = recover(); recovered != nil {
				exited = false
			}
		}()
		err = f()
		exited = false
	}()
	<-done
	return recovered, exited, err
}

// However a function ends, whoever has asked for it ends likewise, once all the others
// have ended too.
func TestEndsAsItsWork(t *testing.T) {
	errFails := errors.New("fails")
	ways := map[string]func() error{
		"returns": func() error { return nil },
		"fails":   func() error { return errFails },
		"panics":  func() error { panic(errFails) },
		"exits":   func() error { runtime.Goexit(); return nil },
	}
	for name, end := range ways {
		var running atomic.Int64
		jobs := map[string]func() error{
			"a worker": func() error {
				return workers.Run(t.Context(), 3, func(ctx context.Context, g *workers.Group) error {
					for i := range 50 {
						g.Go(func() error {
							running.Add(1)
							defer running.Add(-1)
							if i == 7 {
								return end()
							}
							return nil
						})
					}
					return nil
				})
			},
			"the caller": func() error {
				return workers.Run(t.Context(), 3, func(ctx context.Context, g *workers.Group) error {
					for range 3 {
						g.Go(func() error {
							running.Add(1)
							defer running.Add(-1)
							if name != "returns" {
								<-ctx.Done()
							}
							return nil
						})
					}
					return end()
				})
			},
			"one within another": func() error {
				return workers.Run(t.Context(), 1, func(ctx context.Context, g *workers.Group) error {
					g.Go(func() error {
						return workers.Run(ctx, 1, func(_ context.Context, g *workers.Group) error {
							g.Go(func() error { return end() })
							return nil
						})
					})
					return nil
				})
			},
			"beside": workers.Beside(func() error { return end() }),
		}
		for who, job := range jobs {
			recovered, exited, err := ends(job)
			if n := running.Load(); n != 0 {
				t.Errorf("%s %s: %d are still running", who, name, n)
			}
			wantErr := map[string]error{"fails": errFails}[name]
			if err != wantErr || exited != (name == "exits") || (recovered != nil) != (name == "panics") {
				t.Errorf("%s %s: %v, recovered %v, exited %v", who, name, err, recovered, exited)
			}
			if recovered == nil {
				continue
			}
			value, ok := recovered.(error)
			if !ok || !errors.Is(value, errFails) {
				t.Errorf("%s: recovered %v", who, recovered)
			}
			if p := (*workers.Panic)(nil); errors.As(value, &p) && (!strings.Contains(p.Error(), "TestEndsAsItsWork") || strings.Count(p.Error(), "in another goroutine") != 1) {
				t.Errorf("%s: the stack is not the worker's: %v", who, p)
			}
		}
	}
}

// At most n run at once, and none begins once the context has ended.
func TestBounds(t *testing.T) {
	var now, most atomic.Int64
	err := workers.Run(t.Context(), 3, func(ctx context.Context, g *workers.Group) error {
		for range 200 {
			g.Go(func() error {
				for n := now.Add(1); n > most.Load(); {
					most.Store(n)
				}
				defer now.Add(-1)
				return nil
			})
		}
		return nil
	})
	if err != nil || most.Load() > 3 {
		t.Errorf("%v, %d at once", err, most.Load())
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrUnexpectedEOF)
	err = workers.Run(ctx, 3, func(ctx context.Context, g *workers.Group) error {
		if g.Go(func() error { t.Error("it is run"); return nil }) {
			t.Error("it is said to be run")
		}
		return nil
	})
	if err != io.ErrUnexpectedEOF {
		t.Errorf("after the end: %v", err)
	}
}
