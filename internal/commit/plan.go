package commit

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// ErrNoPlan is returned if the vault has no such plan.
var ErrNoPlan = errors.New("no such plan")

// ErrPlanEnded is returned for a plan that was made into a version, or given up.
var ErrPlanEnded = errors.New("the plan has ended")

// ErrStale is returned for a plan whose data key nothing may be sealed under any more.
var ErrStale = errors.New("the data key was rotated, or the signers were changed, since the plan was made; make another plan")

// A Plan is a plan as it is in the vault. Nothing of it is to be believed before
// [Lease.Vouch], or BeginShard, has found out who has signed it.
type Plan struct {
	*codec.Plan
	// Digest is the SHA-256 of the plan.
	Digest [32]byte
	// Pinned says that the caller has named the digest, and so vouches for all that the plan
	// says.
	Pinned bool

	dataset *dataset.Dataset
	record  *codec.Record
	key     envelope.KeyID // that it is sealed under
}

// uploadOf is the name under which a plan is signed, and shardUpload that of what workers
// make of a shard. Uploads, whose names begin with a number, have others.
func uploadOf(plan string) string { return "plan-" + plan }

func shardUpload(plan string, n int) string { return fmt.Sprintf("plan-%s-%05d", plan, n) }

// ReadPlan reads a plan. If digest is not empty, it is the plan's, in hex.
func ReadPlan(ctx context.Context, d *dataset.Dataset, id, digest string) (*Plan, error) {
	if err := given.Check(ctx, d != nil && objects.Of(d).Usable(), errNoDataset); err != nil {
		return nil, err
	}
	if err := codec.CheckPlanID(id); err != nil {
		return nil, err
	}
	s := objects.Of(d)
	r, key, err := s.ReadRecord(ctx, s.PlanName(id))
	if errors.Is(err, dataset.ErrMissing) {
		return nil, fmt.Errorf("plan %s of dataset %q: %w", id, d.Name, ErrNoPlan)
	}
	if err != nil {
		return nil, s.Because(fmt.Errorf("%s: %w", s.PlanName(id), objects.Tampered(err)))
	}
	p := &Plan{Digest: r.Sum(), Pinned: digest != "", dataset: d, record: r, key: key}
	if got := hex.EncodeToString(p.Digest[:]); digest != "" && digest != got {
		return nil, fmt.Errorf("the plan %s has the digest %s, and not %s: %w", id, got, digest, envelope.ErrAuthentication)
	}
	p.Plan, err = codec.DecodePlan(d.Name, id, r.List)
	return p, err
}

// Page reads a page of the plan.
func (p *Plan) Page(ctx context.Context, i int) ([]codec.Planned, error) {
	if err := given.Check(ctx, p != nil && p.dataset != nil && i < len(p.Pages), errNoPage); err != nil {
		return nil, err
	}
	s := objects.Of(p.dataset)
	page := p.Pages[i]
	name := s.PageName(p.ID, page.ID)
	b, err := s.ReadPinned(ctx, envelope.KindIndex, name, page.Object)
	if err != nil {
		return nil, s.Because(err)
	}
	if sha256.Sum256(b) != page.Sum {
		return nil, fmt.Errorf("%s: %w", name, envelope.ErrAuthentication)
	}
	entries, err := codec.DecodePage(p.dataset.Name, b)
	if err == nil && (len(entries) != page.Entries || entries[0].Path != page.First) {
		err = envelope.ErrAuthentication
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return entries, nil
}

var errNoPage = errors.New("commit: a page of no plan")

// Vouch returns an error unless a signer has made the plan, and its data key is one that
// may be sealed under. From then on, the data keys that it grants belong to the dataset.
func (l *Lease) Vouch(ctx context.Context, p *Plan) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	if p == nil || p.record == nil {
		return ErrNoPlan
	}
	c, other, err := l.evidence(p.record, uploadOf(p.ID), 0)
	if err == nil {
		err = l.takeGrants(ctx, p.record, p.key, map[envelope.KeyID]bool{p.Key: true}, c, other)
	}
	if err != nil {
		return fmt.Errorf("the plan %s: %w", p.ID, err)
	}
	// If the plan has begun a chain of signers that did not become the dataset's, what is
	// sealed under its data key is taken over, as from the records of an upload.
	if other == nil && !l.maySeal(p.Key) {
		return fmt.Errorf("the plan %s: %w", p.ID, ErrStale)
	}
	return nil
}

// maySeal reports whether the upload may seal under a data key.
func (l *Lease) maySeal(id envelope.KeyID) bool {
	at := slices.IndexFunc(l.auth.grants, func(g chain.Grant) bool { return g.KeyID == id })
	return at >= 0 && l.auth.chain.MaySeal(l.auth.grants[at], l.auth.signer.Public())
}

// KeyOf returns the data key that the version of a plan is sealed under, which the lease
// has vouched for.
func (l *Lease) KeyOf(ctx context.Context, p *Plan) (*envelope.DataKey, error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	if p == nil || p.Plan == nil {
		return nil, ErrNoPlan
	}
	if l.maySeal(p.Key) {
		return objects.Of(l.dataset).Key(ctx, p.Key)
	}
	return l.SealingKey(ctx)
}

// A Draft is a plan that is being written.
type Draft struct {
	codec.Plan

	lease *Lease
	key   *envelope.DataKey
}

// NewDraft begins a plan, after the lease's version.
func (l *Lease) NewDraft(ctx context.Context) (*Draft, error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	key, err := l.SealingKey(ctx)
	if err != nil {
		return nil, err
	}
	f := &Draft{lease: l, key: key}
	f.ID, f.Created, f.Number, f.Key = strings.ToLower(rand.Text())[:16], time.Now().UTC(), l.number, key.ID()
	if l.prev != nil {
		f.Base, f.BasePin = l.prev.Number, l.prev.Pin
	}
	return f, nil
}

// AddPage stores a page of the plan.
func (f *Draft) AddPage(ctx context.Context, page []codec.Planned) error {
	if err := given.Check(ctx, f != nil && f.lease != nil && len(page) > 0, errNoLease); err != nil {
		return err
	}
	d := f.lease.dataset
	list, err := codec.EncodePage(d.Name, page)
	if err != nil {
		return err
	}
	s := objects.Of(d)
	o, err := s.Seal(ctx, envelope.KindIndex, f.key, func(id envelope.ObjectID) string { return s.PageName(f.ID, id) }, func(w io.Writer) error {
		_, err := w.Write(list)
		return err
	}, envelope.Workers(1))
	if err != nil {
		return fmt.Errorf("writing the plan: %w", err)
	}
	f.Pages = append(f.Pages, tree.Part{Object: o, First: page[0].Path, Entries: len(page), Sum: sha256.Sum256(list)})
	return nil
}

// Store signs the plan and stores it. From then on a collection removes nothing until
// the plan has ended.
func (f *Draft) Store(ctx context.Context) (*Plan, error) {
	if err := given.Check(ctx, f != nil && f.lease != nil, errNoLease); err != nil {
		return nil, err
	}
	l := f.lease
	d, s := l.dataset, objects.Of(l.dataset)
	b, err := codec.EncodePlan(d.Name, &f.Plan)
	if err != nil {
		return nil, err
	}
	l.record = &checkpoint{dataset: d, upload: uploadOf(f.ID), sign: l.signRecord}
	r, err := l.signRecord(ctx, 0, b)
	if err != nil {
		return nil, fmt.Errorf("signing the plan: %w", err)
	}
	data, err := codec.EncodeRecord(r)
	if err != nil {
		return nil, err
	}
	if err := s.CreateData(ctx, f.key, s.PlanName(f.ID), data); err != nil {
		l.unsure.Store(true)
		return nil, fmt.Errorf("storing the plan: %w", err)
	}
	// Only now: a collection that has not seen the plan has seen, or removed, the lease;
	// docs/FORMAT.md, Plans, has the argument.
	if err := l.look(ctx, f.key, Contents{}); err != nil {
		return nil, errors.Join(err, s.EndPlan(ctx, f.ID))
	}
	return ReadPlan(ctx, d, f.ID, "")
}
