package plans

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// stateEvery is how often a worker tells how far it is, and staleAfter how long it counts
// as running without that. They only decide what is shown.
const (
	stateEvery = time.Minute
	staleAfter = 3 * stateEvery
)

// A teller keeps in the vault what is shown of a worker.
type teller struct {
	shard *commit.Shard
	opts  WorkOptions
	state codec.State
	quit  func()
}

// tell begins to tell how far the worker of a shard is.
func tell(s *commit.Shard, opts WorkOptions) *teller {
	host, _ := os.Hostname()
	t := &teller{shard: s, opts: opts, state: codec.State{Worker: fmt.Sprintf("%s, process %d", host, os.Getpid()), Started: time.Now().UTC()}}
	ctx, cancel := context.WithCancel(s.Lease().Context())
	wait := workers.Beside(func() error {
		tick := time.NewTicker(stateEvery)
		defer tick.Stop()
		for {
			t.store(ctx)
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
	var once sync.Once
	t.quit = func() {
		cancel()
		once.Do(func() { wait() })
	}
	return t
}

// store stores the state. That it cannot be seen is no reason to end the work.
func (t *teller) store(ctx context.Context) {
	s := t.opts.Progress.Stats()
	t.state.At, t.state.Files, t.state.Bytes = time.Now().UTC(), s.SentFiles+s.ResumedFiles+s.UnchangedFiles, s.SentBytes+s.ResumedBytes+s.SameBytes
	if err := t.shard.SetState(ctx, t.state); err != nil && ctx.Err() == nil && t.opts.Warn != nil {
		t.opts.Warn(fmt.Errorf("plan status does not show how far this worker is: %w", err))
	}
}

// stop ends the telling, with why the work has failed.
func (t *teller) stop(ctx context.Context, err error) {
	t.quit()
	if err == nil {
		return
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("it was interrupted")
	}
	t.state.Error = err.Error()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	t.store(ctx)
}
