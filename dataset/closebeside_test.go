package dataset_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
)

// A Close, or the end of the context, at any moment of any job ends it as such: it is
// never told as damage, and nothing crashes.
func TestCloseBesideEverything(t *testing.T) {
	defer func(n int) { commit.PartEntries = n }(commit.PartEntries)
	commit.PartEntries = 16
	origin, keys := trapVault(t)
	ended := map[string]int{}
	for name, job := range trapJobs {
		round := func(at int64, end func(*trapped, context.CancelFunc)) int64 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			tr := &trap{sound: true}
			w := newTrapped(t, tr, origin, keys)
			defer w.d.Close()
			done := make(chan struct{})
			tr.does = func() {
				go func() { // the job may have something locked
					defer close(done)
					end(w, cancel)
				}()
				runtime.Gosched()
			}
			tr.at.Store(at)
			recovered, exited, err := endOf(func() error { return job(ctx, w) })
			if at > 0 && tr.calls.Load() >= at {
				<-done
			}
			if v, ok := recovered.(error); ok && err == nil {
				err, recovered = v, nil // of w.v, which has no error to return
			}
			partial := (*dataset.PartialError)(nil)
			switch {
			case exited || recovered != nil:
				t.Errorf("%s, call %d: recovered %v, exited %v", name, at, recovered, exited)
			case err == nil:
			case errors.Is(err, envelope.ErrAuthentication) || errors.Is(err, dataset.ErrMissing):
				t.Errorf("%s, call %d: told as damage: %v", name, at, err)
			case errors.Is(err, dataset.ErrClosed), errors.Is(err, context.Canceled):
				ended[name]++
			case errors.As(err, &partial) && errors.Is(err, dataset.ErrDiffers): // the folder is not that of the version
			case errors.Is(err, errors.ErrUnsupported): // the store tells nothing of what is half-written
			default:
				t.Errorf("%s, call %d: %v", name, at, err)
			}
			return tr.calls.Load()
		}
		calls := round(0, nil)
		for at := int64(1); at <= calls; at += max(calls/12, 1) {
			round(at, func(w *trapped, _ context.CancelFunc) { w.d.Close() })
			round(at, func(_ *trapped, cancel context.CancelFunc) { cancel() })
		}
	}
	t.Logf("ended: %v", ended)
	if len(ended) < len(trapJobs)-1 {
		t.Error("some jobs were never ended")
	}
}
