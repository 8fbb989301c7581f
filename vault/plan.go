package vault

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vaultpack/vaultpack/envelope"
)

// Plan returns the vault for a dry run. Reads go to the vault; writes are counted
// and discarded, and new data keys are invented without a call to KMS. After the
// same steps as in a real run, the plan's Usage is what that run would use, apart
// from retries.
func (v *Vault) Plan() *Vault {
	p := *v
	store := &plannedStore{Store: v.Store}
	store.meter, _ = As[Metered](v.Store)
	keys := *v.Keys
	keys.Wrap = slices.Clone(keys.Wrap)
	for i, w := range keys.Wrap {
		if _, ok := w.(envelope.ServiceKey); ok {
			keys.Wrap[i] = &plannedKey{envelope.GenerateLocalKey(), &store.kmsCalls}
		}
	}
	p.Store, p.Keys = store, &keys
	return &p
}

// A plannedStore counts what is written to it. It keeps only those capabilities of the
// store that change nothing, since the others would really act.
type plannedStore struct {
	Store
	meter    Metered // nil if requests are not billed
	kmsCalls atomic.Int64

	mu    sync.Mutex
	usage Requests
	puts  map[string]bool // what a run would have stored by now
}

// Unwrap preserves the limit on the store's memory use, which determines how many packs
// are written at once.
func (p *plannedStore) Unwrap() Store {
	if b, ok := As[Buffered](p.Store); ok {
		return plannedBuffer{p, b}
	}
	return nil
}

type plannedBuffer struct {
	Store
	Buffered
}

// PlanPut counts a Put of size bytes.
func (p *plannedStore) PlanPut(ctx context.Context, name string, size int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.puts == nil {
		p.puts = map[string]bool{}
	}
	p.puts[name] = true
	if p.meter != nil {
		u := p.meter.PutRequests(size)
		p.usage.Puts += u.Puts
		p.usage.Gets += u.Gets
		p.usage.BytesSent += u.BytesSent
	}
	return ctx.Err()
}

func (p *plannedStore) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	var n writeCounter
	if err := write(&n); err != nil {
		return err
	}
	return p.PlanPut(ctx, name, int64(n))
}

type writeCounter int64

func (n *writeCounter) Write(b []byte) (int, error) {
	*n += writeCounter(len(b))
	return len(b), nil
}

// Create does not check whether an object has the name: another writer may create one at
// any time, which a plan cannot foresee.
func (p *plannedStore) Create(ctx context.Context, name string, data []byte) error {
	return p.PlanPut(ctx, name, int64(len(data)))
}

func (p *plannedStore) Replace(context.Context, string, []byte, []byte) error {
	return errors.New("a plan replaces nothing")
}

func (p *plannedStore) Delete(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.puts, name)
	p.usage.Deletes++
	return nil
}

// List yields what exists, and counts the requests that it would take with what a run
// would have stored by then.
func (p *plannedStore) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		n := 0
		for o, err := range p.Store.List(ctx, prefix) {
			if n++; !yield(o, err) || err != nil {
				return
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		more := 0
		for name := range p.puts {
			if strings.HasPrefix(name, prefix) {
				more++
			}
		}
		if p.meter != nil {
			p.usage.Lists += p.meter.ListRequests(n+more) - p.meter.ListRequests(n)
		}
	}
}

// Sweep counts the requests that a run would make to sweep, if any.
func (p *plannedStore) Sweep(ctx context.Context, prefix string) error {
	s, ok := As[UploadKeeper](p.Store)
	if !ok {
		return ctx.Err()
	}
	n, err := s.CountStale(ctx, prefix, s.StaleAge())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.usage.Deletes += int64(n)
	return err
}

// planned adds up what was done and what is planned.
func (p *plannedStore) planned(done Requests) Requests {
	p.mu.Lock()
	defer p.mu.Unlock()
	done.Puts += p.usage.Puts
	done.Lists += p.usage.Lists
	done.Gets += p.usage.Gets
	done.Deletes += p.usage.Deletes
	done.BytesSent += p.usage.BytesSent
	return done
}

// A plannedKey stands for a KMS key, and counts the calls that it would take.
type plannedKey struct {
	*envelope.LocalKey
	calls *atomic.Int64
}

func (k *plannedKey) Wrap(ctx context.Context, dataKey []byte, ec envelope.EncryptionContext) (envelope.Slot, error) {
	k.calls.Add(1)
	return k.LocalKey.Wrap(ctx, dataKey, ec)
}
