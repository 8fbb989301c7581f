package commit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// A Shard is the right to upload a shard of a plan. It asks for no permission to list or
// to delete. Several workers may have it at once: the first that finishes counts. End
// must be called on its Lease, whatever happens.
type Shard struct {
	Number int

	lease  *Lease
	result *codec.Shard // if it is finished
	began  time.Time
}

var errNoShard = errors.New("commit: a shard that was not begun")

// BeginShard begins shard n of a plan: it finds out whether the plan is to be believed, and
// what other workers of the shard have recorded.
func BeginShard(ctx context.Context, p *Plan, n int) (*Shard, error) {
	if err := given.Check(ctx, p != nil && p.dataset != nil, ErrNoPlan); err != nil {
		return nil, err
	}
	if n < 0 || n >= len(p.Shards) {
		return nil, fmt.Errorf("the plan %s has no shard %d: it has %d, counted from 0", p.ID, n, len(p.Shards))
	}
	d, s := p.dataset, objects.Of(p.dataset)
	l := &Lease{dataset: d, plan: p, started: time.Now(), stop: func() {}}
	l.upload = shardUpload(p.ID, n)
	l.record = &checkpoint{dataset: d, upload: l.upload, sign: l.signRecord,
		log: func(i int64) string { return s.LogName(p.ID, n, i) }}
	l.context, l.cancel = context.WithCancelCause(ctx)
	s.Enter(&l.cancel)
	begun := false
	defer func() {
		if !begun {
			l.Abandon()
		}
	}()
	if err := l.readBase(ctx); err != nil {
		return nil, err
	}
	if err := l.authorize(ctx); err != nil {
		return nil, err
	}
	if err := l.Vouch(ctx, p); err != nil {
		return nil, err
	}
	sh := &Shard{lease: l, Number: n, began: l.started.UTC()}
	var err error
	if sh.result, err = l.resultOf(ctx, n); err != nil && !objects.Absent(err) {
		return nil, err
	}
	if sh.result == nil && p.Shards[n].Entries > 0 {
		if _, err := s.Get(ctx, s.EndName(p.ID), codec.MaxRoot); !objects.Absent(err) {
			if err == nil {
				err = fmt.Errorf("plan %s of dataset %q: %w", p.ID, d.Name, ErrPlanEnded)
			}
			return nil, err
		}
		if l.pending, err = l.readLog(ctx); err != nil {
			return nil, err
		}
	}
	begun = true
	return sh, nil
}

// readBase reads the version that files are compared with.
func (l *Lease) readBase(ctx context.Context) error {
	p, s := l.plan, objects.Of(l.dataset)
	if p.Base == 0 {
		return nil
	}
	digest := hex.EncodeToString(p.BasePin.Digest[:])
	if p.Pinned { // whoever named the plan's digest has named the version's
		if err := s.Pin(ctx, p.Base, digest); err != nil {
			return err
		}
	}
	r, err := s.ReadRoot(ctx, p.Base)
	if err != nil {
		return fmt.Errorf("the version that the plan %s continues from: %w", p.ID, err)
	}
	if r.Pin != p.BasePin {
		return fmt.Errorf("the plan %s continues from another version %d: %w", p.ID, p.Base, envelope.ErrAuthentication)
	}
	l.prev = leaseVersion(s, r)
	return nil
}

// readLog reads what workers of the shard have recorded: records from 1 on, without a gap.
func (l *Lease) readLog(ctx context.Context) (*Pending, error) {
	p := &Pending{dataset: l.dataset}
	for n := int64(1); ; n++ {
		name := l.record.log(n)
		r, key, err := objects.Of(l.dataset).ReadRecord(ctx, name)
		if objects.Absent(err) {
			break
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l.record.n = int(n)
		var entries []*tree.Entry
		if err == nil {
			_, entries, err = l.vouch(ctx, codec.PendingName{Upload: l.upload, Record: n}, r, key)
		}
		if err != nil {
			p.Unreadable = append(p.Unreadable, fmt.Errorf("%s: %w", name, objects.Tampered(err)))
			continue
		}
		if len(entries) > 0 {
			p.KeyID = key
			p.add(name, r, "", entries)
		}
	}
	p.arrange()
	return p, nil
}

// resultOf reads and verifies what a worker has made of shard n. If there is nothing yet,
// the error is objects.Absent.
func (l *Lease) resultOf(ctx context.Context, n int) (*codec.Shard, error) {
	return l.ReadResult(ctx, l.plan, n)
}

// ReadResult reads what a worker has made of shard n of a plan that the lease has vouched
// for. It returns an error unless a signer has signed it, for this shard of this plan, and
// it holds what the plan says. If there is no result, the error wraps dataset.ErrMissing.
func (l *Lease) ReadResult(ctx context.Context, p *Plan, n int) (*codec.Shard, error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	if p == nil || p.Plan == nil || n < 0 || n >= len(p.Shards) {
		return nil, ErrNoPlan
	}
	s := objects.Of(l.dataset)
	name := s.ResultName(p.ID, n)
	r, key, err := s.ReadRecord(ctx, name)
	if err != nil {
		return nil, err
	}
	c, other, err := l.evidence(r, shardUpload(p.ID, n), 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, objects.Tampered(err))
	}
	res, err := codec.DecodeShard(l.dataset.Name, r.List)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	named := map[envelope.KeyID]bool{}
	for _, o := range res.Packs {
		named[o.KeyID] = true
	}
	for _, part := range res.Parts {
		named[part.KeyID] = true
	}
	if err := l.takeGrants(ctx, r, key, named, c, other); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if why := fits(p, n, res); why != "" {
		return nil, fmt.Errorf("%s: %s: %w", name, why, envelope.ErrAuthentication)
	}
	return res, nil
}

// fits says why a result is not one of shard n of the plan.
func fits(p *Plan, n int, res *codec.Shard) string {
	shard := p.Shards[n]
	if res.Plan != p.Digest || res.Number != n {
		return "it is of another plan, or another shard"
	}
	entries := int64(0)
	for _, part := range res.Parts {
		entries += int64(part.Entries)
	}
	t := res.Totals
	if entries != shard.Entries || t.Files+t.Folders+t.Links != entries || t.Files != shard.Files || t.Bytes != shard.Bytes || t.Flaws != 0 {
		return "it does not have what the plan has"
	}
	if entries == 0 {
		return ""
	}
	first, last := res.Parts[0].First, res.Parts[len(res.Parts)-1].First
	to, more := p.To(n)
	if first != shard.From || res.Last < last || more && res.Last >= to {
		return "its paths are not those of the shard"
	}
	return ""
}

// Done returns what a worker has made of the shard, or nil if none has finished.
func (sh *Shard) Done() *codec.Shard {
	if sh == nil {
		return nil
	}
	return sh.result
}

// Plan returns the plan of the shard.
func (sh *Shard) Plan() *Plan {
	if sh == nil || sh.lease == nil {
		return nil
	}
	return sh.lease.plan
}

// Lease returns what the worker records and signs with. No version can be made with it.
func (sh *Shard) Lease() *Lease {
	if sh == nil {
		return nil
	}
	return sh.lease
}

// Fail ends the work on the shard: the context of its Lease ends, and err is why.
func (sh *Shard) Fail(err error) {
	if sh != nil && sh.lease != nil && err != nil {
		sh.lease.cancel(err)
	}
}

// Key returns the data key that the shard is sealed under.
func (sh *Shard) Key(ctx context.Context) (*envelope.DataKey, error) {
	if err := sh.begin(ctx); err != nil {
		return nil, err
	}
	return objects.Of(sh.lease.dataset).Key(ctx, sh.lease.plan.Key)
}

func (sh *Shard) begin(ctx context.Context) error {
	return given.Check(ctx, sh != nil && sh.lease != nil && sh.lease.plan != nil, errNoShard)
}

// Finish stores what was made of the shard, unless another worker has finished it: of
// all of them, the first one counts. It returns the result that counts, and whether it is
// this one.
func (sh *Shard) Finish(ctx context.Context, res *codec.Shard) (counts *codec.Shard, first bool, err error) {
	if err := sh.begin(ctx); err != nil {
		return nil, false, err
	}
	l, p, s := sh.lease, sh.lease.plan, objects.Of(sh.lease.dataset)
	res.Plan, res.Number, res.Started, res.Finished = p.Digest, sh.Number, sh.began, time.Now().UTC()
	if why := fits(p, sh.Number, res); why != "" {
		return nil, false, fmt.Errorf("shard %d of the plan %s: %s, so it is not stored", sh.Number, p.ID, why)
	}
	b, err := codec.EncodeShard(l.dataset.Name, res)
	if err != nil {
		return nil, false, err
	}
	r, err := l.signRecord(ctx, 0, b)
	if err != nil {
		return nil, false, fmt.Errorf("signing shard %d: %w", sh.Number, err)
	}
	data, err := codec.EncodeRecord(r)
	if err != nil {
		return nil, false, err
	}
	key, err := sh.Key(ctx)
	if err != nil {
		return nil, false, err
	}
	err = s.CreateData(ctx, key, s.ResultName(p.ID, sh.Number), data)
	if errors.Is(err, fs.ErrExist) {
		counts, err := l.resultOf(ctx, sh.Number)
		return counts, false, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("storing shard %d: %w", sh.Number, err)
	}
	return res, true, nil
}

// Ended returns an error that wraps ErrPlanEnded once the plan of the shard has ended.
func (l *Lease) Ended(ctx context.Context, p *Plan) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	if p == nil || p.Plan == nil {
		return ErrNoPlan
	}
	ended, err := objects.Of(l.dataset).PlanEnded(ctx, p.ID)
	if err == nil && ended {
		err = fmt.Errorf("plan %s of dataset %q: %w", p.ID, l.dataset.Name, ErrPlanEnded)
	}
	return err
}

// SetState stores what is shown of the worker.
func (sh *Shard) SetState(ctx context.Context, state codec.State) error {
	if err := sh.begin(ctx); err != nil {
		return err
	}
	b, err := codec.EncodeState(state)
	if err != nil {
		return err
	}
	key, err := sh.Key(ctx)
	if err != nil {
		return err
	}
	return objects.Of(sh.lease.dataset).SealData(ctx, key, objects.Of(sh.lease.dataset).StateName(sh.lease.plan.ID, sh.Number), b)
}
