// Package commit makes versions: the lease that an upload holds, the records of what
// uploads have done so far, the index, and the one write that readers see. Packages
// uploader, ingest and rekey are built on it.
package commit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// A Lease is the right to make one version. It says in the vault that an upload is
// under way, so that a [dataset.Dataset.Collect] leaves alone what the upload makes and relies
// on. An upload writes everything through its lease; there is no other way to commit.
//
// A lease is for the number after the highest that is taken. It is written before
// the upload looks at what there is to continue from, and the number is what Commit
// creates: a collection that considers an upload dead takes its number first. So a committed
// version is complete, in whatever order uploads and collections run or are suspended.
//
// End must be called. A Lease is safe for concurrent use, except for Commit and End.
type Lease struct {
	dataset *dataset.Dataset
	upload  string // names the upload's objects in pending/
	number  int64
	started time.Time
	prev    *dataset.Version
	pending *Pending
	auth    authority
	planned bool  // nothing is written, so nothing is renewed
	plan    *Plan // whose shard is uploaded: see [Shard]. Nothing in pending/ is the lease's

	context context.Context
	cancel  context.CancelCauseFunc
	stop    func() // ends the renewal

	recording sync.Mutex
	record    *checkpoint
	unsure    atomic.Bool // a write may still reach the vault, so the lease stays
}

// Begin begins an upload. source identifies where the uploader gets its data; it marks
// the upload's records.
func Begin(ctx context.Context, d *dataset.Dataset, source string) (*Lease, error) {
	return begin(ctx, d, source, oldChain)
}

// A chainOf says which chain of signers a version has.
type chainOf int

const (
	oldChain chainOf = iota // the chain of the version before
	newChain                // a new chain, whoever signed the version before
)

func begin(ctx context.Context, d *dataset.Dataset, source string, signers chainOf) (*Lease, error) {
	if err := given.Check(ctx, d != nil && objects.Of(d).Usable(), errNoDataset); err != nil {
		return nil, err
	}
	all, err := objects.Of(d).Numbers(ctx)
	if err != nil {
		return nil, err
	}
	l := &Lease{dataset: d, number: all.Highest() + 1, started: time.Now(), stop: func() {}, planned: objects.Of(d).Planned()}
	l.upload = fmt.Sprintf("%010d-%s", l.number, strings.ToLower(rand.Text()))
	l.auth.anew = signers == newChain
	l.record = &checkpoint{dataset: d, source: source, upload: l.upload, sign: l.signRecord}
	l.context, l.cancel = context.WithCancelCause(ctx)
	objects.Of(d).Enter(&l.cancel)
	begun := false
	defer func() {
		if !begun { // also if the store panics
			l.Abandon()
		}
	}()
	if err := l.write(ctx); err != nil {
		return nil, fmt.Errorf("beginning the upload: %w", err)
	}
	if !l.planned {
		l.renew()
	}
	// This comes after the lease has been written: a collection that does not see the
	// lease must have marked what is found now.
	if err := l.read(ctx, all); err != nil {
		return nil, errors.Join(err, l.End(ctx))
	}
	begun = true
	return l, nil
}

// read reads what the upload can continue from.
func (l *Lease) read(ctx context.Context, all objects.Numbers) (err error) {
	r, err := objects.Of(l.dataset).Newest(ctx, all)
	if err = objects.Of(l.dataset).Because(err); err == nil {
		l.prev = leaseVersion(objects.Of(l.dataset), r)
	}
	if errors.Is(err, dataset.ErrUnknownVersion) { // it was the newest version a moment ago
		return fmt.Errorf("%w (%v); run the same command again", dataset.ErrConflict, err)
	}
	if err != nil && !errors.Is(err, dataset.ErrUnknownDataset) {
		return err
	}
	if err := l.authorize(ctx); err != nil {
		return err
	}
	l.pending, err = readPending(ctx, l.dataset, all.Closed(), l.vouch)
	return err
}

func (l *Lease) name() string { return l.dataset.Name + "/pending/" + l.upload + codec.LeaseSuffix }

func (l *Lease) write(ctx context.Context) error {
	b, err := codec.EncodeLease(l.started)
	if err != nil {
		return err
	}
	return objects.Of(l.dataset).Vault.Put(ctx, l.name(), func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// renew keeps the lease fresh until it ends, or is gone. If the store panics, stop panics
// in the same way, once.
func (l *Lease) renew() {
	ctx, cancel := context.WithCancel(l.context)
	wait := workers.Beside(func() error {
		err := errNotRenewed
		defer func() {
			if err != nil {
				l.cancel(err)
			}
		}()
		err = l.keepYoung(ctx)
		return nil
	})
	var once sync.Once
	l.stop = func() {
		cancel()
		once.Do(func() { wait() })
	}
}

var errNotRenewed = errors.New("the upload's lease is no longer renewed")

// keepYoung rewrites the lease at intervals. It returns an error if the lease is gone.
func (l *Lease) keepYoung(ctx context.Context) error {
	tick := time.NewTicker(objects.LeaseTTL / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := l.check(ctx); errors.Is(err, dataset.ErrCollected) {
			return err
		} else if err == nil {
			l.write(ctx) // if it fails, the next one may not, and Commit checks
		}
	}
}

// Abandon stops renewing a lease that does not end normally: a collection then finds it
// dead. After End it does nothing.
func (l *Lease) Abandon() {
	if l == nil || l.dataset == nil {
		return
	}
	defer objects.Of(l.dataset).Leave(&l.cancel)
	defer l.cancel(context.Canceled)
	l.stop()
}

// Because returns err or, if err was caused by the end of the lease's context, the reason for
// that end.
func (l *Lease) Because(err error) error {
	if l == nil || l.context == nil {
		return errNoLease
	}
	cause := context.Cause(l.context)
	if err != nil && (errors.Is(cause, dataset.ErrCollected) || errors.Is(cause, dataset.ErrClosed)) {
		return cause
	}
	return err
}

// check checks whether the lease exists.
func (l *Lease) check(ctx context.Context) error {
	_, err := objects.Of(l.dataset).Vault.Stat(ctx, l.name())
	if errors.Is(err, fs.ErrNotExist) {
		if l.planned {
			return nil
		}
		return fmt.Errorf("%w; run the same command again", dataset.ErrCollected)
	}
	return err
}

// Context is the context that the lease was made with. It is cancelled with a cause
// that wraps ErrCollected when the lease is found to be gone, and with ErrClosed when
// the dataset is closed.
func (l *Lease) Context() context.Context { return l.context }

// Previous returns the version that the new one is made after, or nil.
func (l *Lease) Previous() *dataset.Version { return l.prev }

// Pending returns what unfinished uploads have recorded and can be relied on.
func (l *Lease) Pending() *Pending { return l.pending }

// Record records entries whose packs are in the vault, sealed under key, so that another
// run, on any machine, can continue from there. A file with only some of its pieces in
// the vault has only those extents. It sorts entries.
func (l *Lease) Record(ctx context.Context, key *envelope.DataKey, entries []*tree.Entry) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// A record that is being written is not interrupted at once: it might reach the
	// vault after the lease has ended, when a collection no longer expects one.
	ctx, cancel := lingering(ctx, 10*time.Second)
	defer cancel()
	l.recording.Lock()
	defer l.recording.Unlock()
	err := l.record.Write(ctx, key, entries)
	if err != nil {
		l.unsure.Store(true)
	}
	return err
}

// lingering returns a context that is cancelled a while after ctx.
func lingering(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(d):
			cancel()
		case <-out.Done():
		}
	})
	return out, func() { stop(); cancel() }
}

// Forget removes the records of this upload, and of earlier ones of its source: the
// version has been made, or there is nothing to make.
func (l *Lease) Forget(ctx context.Context) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	l.recording.Lock()
	defer l.recording.Unlock()
	return errors.Join(l.record.Remove(ctx), l.pending.Remove(ctx, l.record.source))
}

// End ends the lease. An interrupted upload first records its progress. If it is unknown
// whether a write has reached the vault, the lease stays there and is left to a
// collection. If ctx is cancelled, End has ten more seconds.
func (l *Lease) End(ctx context.Context) error {
	if err := l.begin(ctx); err != nil && (ctx == nil || err != ctx.Err()) {
		return err
	}
	l.Abandon()
	if l.unsure.Load() || l.plan != nil {
		return nil
	}
	ctx, cancel := lingering(ctx, 10*time.Second)
	defer cancel()
	if err := objects.Of(l.dataset).Vault.Delete(ctx, l.name()); err != nil {
		return fmt.Errorf("ending the upload: %w", err)
	}
	return nil
}
