package plans

import (
	"context"
	"errors"
	"fmt"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// CommitOptions configure [Commit].
type CommitOptions struct {
	// Message is the message of the version, which is signed with it.
	Message string
	// Partial makes a version of the shards that are finished, even if some are not. It is
	// marked as incomplete, its message says so, and the plan goes on.
	Partial bool
}

// A CommitResult is the result of [Commit].
type CommitResult struct {
	Version *dataset.Version
	// Committed says that this call has made the version. Otherwise another one had.
	Committed bool
	// Missing are the shards that a partial version lacks.
	Missing []int
}

// maxTries limits how often a commit begins again because another writer was faster.
const maxTries = 20

// Commit joins the shards of a plan into a version, after it has verified each of them:
// that a signer has signed it, that it has what the plan says, and that its index and its
// packs are in the vault. Every worker may call it at its end: the last one succeeds, and
// of several at the same time one makes the version, and the others return it.
//
// While shards are missing, the error is a *MissingError.
func Commit(ctx context.Context, d *dataset.Dataset, r Reference, opts CommitOptions) (*CommitResult, error) {
	p, err := read(ctx, d, r)
	if err != nil {
		return nil, err
	}
	if !opts.Partial { // the usual case, before anything is read
		if err := allDone(ctx, d, p); err != nil {
			return nil, err
		}
	}
	for try := 0; ; try++ {
		res, err := joinOnce(ctx, d, p, opts)
		if errors.Is(err, dataset.ErrConflict) && try < maxTries && ctx.Err() == nil {
			continue // another upload, or another commit of the same plan, was faster
		}
		return res, err
	}
}

// allDone returns a *MissingError if the vault does not have something of each shard.
// What it has is verified later.
func allDone(ctx context.Context, d *dataset.Dataset, p *commit.Plan) error {
	s := objects.Of(d)
	done := map[string]bool{}
	for o, err := range s.Vault.List(ctx, s.PlanFolder(p.ID)) {
		if err != nil {
			return fmt.Errorf("listing the plan: %w", err)
		}
		done[o.Name] = true
	}
	if done[s.EndName(p.ID)] {
		return nil
	}
	missing := &MissingError{Reference{d.Name, p.ID, ""}, len(p.Shards), nil}
	for n, shard := range p.Shards {
		if shard.Entries > 0 && !done[s.ResultName(p.ID, n)] {
			missing.Missing = append(missing.Missing, n)
		}
	}
	if len(missing.Missing) > 0 {
		return missing
	}
	return nil
}

func joinOnce(ctx context.Context, d *dataset.Dataset, p *commit.Plan, opts CommitOptions) (res *CommitResult, err error) {
	l, err := commit.Begin(ctx, d, "commit")
	if err != nil {
		return nil, err
	}
	defer func() {
		if end := l.End(ctx); err == nil {
			err = end
		}
	}()
	// Not before the lease: a collection that removes what this relies on has seen the
	// plan ended, and then sees the lease, or has been seen here.
	ended := l.Ended(l.Context(), p)
	if ended != nil && !errors.Is(ended, ErrEnded) {
		return nil, ended
	}
	v, err := madeOf(ctx, d, p)
	if err != nil {
		return nil, err
	}
	if v != nil {
		return &CommitResult{Version: v}, objects.Of(d).EndPlan(ctx, p.ID)
	}
	if ended != nil {
		return nil, ended
	}
	j := &joining{l: l, p: p, packs: map[envelope.ObjectID]*tree.Object{}, keys: map[envelope.KeyID]bool{}}
	if err := j.gather(l.Context()); err != nil {
		return nil, l.Because(err)
	}
	if len(j.missing) > 0 && (!opts.Partial || len(j.missing) == j.shards) {
		return nil, &MissingError{Reference{d.Name, p.ID, ""}, len(p.Shards), j.missing}
	}
	if v, err = j.commit(l.Context(), opts); err != nil {
		return nil, l.Because(err)
	}
	res = &CommitResult{Version: v, Committed: true, Missing: j.missing}
	if len(j.missing) == 0 {
		err = objects.Of(d).EndPlan(ctx, p.ID)
	}
	return res, err
}

// madeOf returns the version that was made of the whole plan, or nil.
func madeOf(ctx context.Context, d *dataset.Dataset, p *commit.Plan) (*dataset.Version, error) {
	all, err := objects.Of(d).Numbers(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range all.Versions() {
		if n < p.Number {
			continue
		}
		v, err := d.Version(ctx, n)
		if errors.Is(err, dataset.ErrUnknownVersion) || errors.Is(err, dataset.ErrUnknownDataset) {
			continue // it was removed just now
		}
		if err != nil {
			return nil, fmt.Errorf("whether version %d was made of the plan: %w", n, err)
		}
		if root := objects.RootOf(v); root.Plan == p.ID && !root.Partial {
			return v, nil
		}
	}
	return nil, nil
}

// A joining joins the shards of a plan.
type joining struct {
	l        *commit.Lease
	p        *commit.Plan
	shards   int // with something in them
	missing  []int
	entries  int64 // of the missing
	contents commit.Contents
	packs    map[envelope.ObjectID]*tree.Object
	keys     map[envelope.KeyID]bool
	tree     tree.Merkle
	treeless bool
}

// gather reads and verifies the shards.
func (j *joining) gather(ctx context.Context) error {
	if err := j.l.Vouch(ctx, j.p); err != nil {
		return err
	}
	for n, shard := range j.p.Shards {
		if shard.Entries == 0 {
			continue
		}
		j.shards++
		res, err := j.l.ReadResult(ctx, j.p, n)
		if errors.Is(err, dataset.ErrMissing) {
			j.missing = append(j.missing, n)
			j.entries += shard.Entries
			continue
		}
		if err != nil {
			return fmt.Errorf("shard %d: %w", n, err)
		}
		c := &j.contents
		c.Parts = append(c.Parts, res.Parts...)
		c.Totals.Files += res.Totals.Files
		c.Totals.Folders += res.Totals.Folders
		c.Totals.Links += res.Totals.Links
		c.Totals.Bytes += res.Totals.Bytes
		for _, part := range res.Parts {
			j.keys[part.KeyID] = true
		}
		if err := j.addPacks(n, res.Packs); err != nil {
			return err
		}
		if j.treeless = j.treeless || !res.HasTree || len(j.missing) > 0; j.treeless {
			continue
		}
		if err := j.tree.Append(res.Tree, shard.Entries); err != nil {
			return fmt.Errorf("shard %d: %w: %w", n, err, envelope.ErrAuthentication)
		}
	}
	return nil
}

// addPacks adds the packs of a shard. Shards may share packs of earlier versions.
func (j *joining) addPacks(n int, packs []tree.Object) error {
	for _, o := range packs {
		if had, ok := j.packs[o.ID]; ok {
			if *had != o {
				return fmt.Errorf("shard %d has another pack %s than one before: %w", n, o.ID, envelope.ErrAuthentication)
			}
			continue
		}
		j.packs[o.ID] = &o
		j.keys[o.KeyID] = true
		j.contents.Totals.Packs++
		j.contents.Totals.SealedBytes += o.Pin.Size
	}
	return nil
}

func (j *joining) commit(ctx context.Context, opts CommitOptions) (*dataset.Version, error) {
	c := j.contents
	c.Plan, c.Message, c.Relied, c.KeyIDs = j.p.ID, opts.Message, j.packs, j.keys
	if n := len(j.missing); n > 0 {
		c.Partial = true
		c.Totals.Flaws = j.entries
		note := fmt.Sprintf("partial: %d of %d shards are missing", n, len(j.p.Shards))
		if c.Message != "" {
			note = c.Message + "\n" + note
		}
		c.Message = note
	} else if !j.treeless {
		c.Tree, c.HasTree = j.tree.Sum()
	}
	key, err := j.l.KeyOf(ctx, j.p)
	if err != nil {
		return nil, err
	}
	return j.l.Commit(ctx, key, c)
}
