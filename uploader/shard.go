package uploader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// ErrSourceChanged is returned for a source that is not as it was when its plan was made.
var ErrSourceChanged = errors.New("the source has changed since the plan was made")

// A ChangedError names what has changed in the source of a plan. It wraps
// ErrSourceChanged.
type ChangedError struct {
	// Path is relative to the source, and empty for the source itself.
	Path string
	// What says what was planned and what is there.
	What string
}

func (e *ChangedError) Error() string {
	what := fmt.Sprintf("%q", e.Path)
	if e.Path == "" {
		what = "the folder itself"
	}
	return fmt.Sprintf("%v: %s %s", ErrSourceChanged, what, e.What)
}

func (e *ChangedError) Unwrap() error { return ErrSourceChanged }

// UploadShard uploads the shard of a plan that package plans has begun, from the source at
// path. If a file cannot be read, or is not as it was planned, nothing is made of the
// shard. Whatever the error, another worker continues from what is recorded. Committed in
// the result is false if another worker has finished the shard before.
//
// The plan decides about what Options say of links, packs and checksums.
func UploadShard(ctx context.Context, d *dataset.Dataset, path string, s *commit.Shard, opts Options) (*Result, error) {
	if err := given.Check(ctx, path != "", errNoDataset); err != nil {
		return nil, err
	}
	return uploadShard(ctx, &upload{Options: opts, dataset: d, path: path, shard: s})
}

// UploadBucketShard is UploadShard for a plan of a bucket. It lists nothing: it reads the
// objects that the plan names, in the state in which the plan has pinned them.
func UploadBucketShard(ctx context.Context, d *dataset.Dataset, b Bucket, s *commit.Shard, opts Options) (*Result, error) {
	if err := given.Check(ctx, b != nil, errNoBucket); err != nil {
		return nil, err
	}
	return uploadShard(ctx, &upload{Options: opts, dataset: d, path: b.String(), bucket: b, shard: s})
}

func uploadShard(ctx context.Context, u *upload) (*Result, error) {
	d, s, opts := u.dataset, u.shard, &u.Options
	if err := given.Check(ctx, d != nil && d.Vault() != nil && s.Lease() != nil, errNoDataset); err != nil {
		return nil, err
	}
	if opts.DryRun || opts.Resend != nil || !opts.Filter.all() {
		return nil, errors.New("uploader: a shard is of its plan, which has been filtered already, and there is no dry run of it")
	}
	p := s.Plan()
	links, err := ParseLinks(p.Links)
	if err != nil {
		return nil, err
	}
	opts.Links, opts.PackSize, opts.Shuffle, opts.Checksum = links, p.PackSize, p.Shuffle, p.Checksum
	if err := u.complete(); err != nil {
		return nil, err
	}
	if u.Progress != nil {
		u.Progress.now.Store(&u.counters)
	}
	res, err := u.make(ctx)
	if err != nil {
		return nil, err
	}
	res.Vault, res.Stats, res.Source = d.Vault(), u.counters.stats(), u.sourceUsage()
	return res, nil
}

// openShard is open for a shard of a plan.
func (u *upload) openShard(ctx context.Context) (err error) {
	u.lease = u.shard.Lease()
	u.prev, u.pending = u.lease.Previous(), u.lease.Pending()
	for _, err := range u.pending.Unreadable {
		u.Warn(fmt.Errorf("a record of another worker cannot be used, so what it names is uploaded again: %w", err))
	}
	u.packs = map[packID]int64{}
	u.elsewhere = newElsewhere(u)
	u.key, err = u.shard.Key(ctx)
	return err
}

// packSize returns the size of a pack in the vault. A worker asks for each pack, since it
// may not list.
func (u *upload) packSize(id packID) (int64, bool) {
	if u.shard == nil {
		size, ok := u.packs[id]
		return size, ok
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	size, asked := u.packs[id]
	if !asked {
		size = -1
		o, err := u.dataset.Vault().Stat(u.lease.Context(), objects.Of(u.dataset).PackName(id))
		switch {
		case err == nil:
			size = o.Size
		case !objects.Absent(err): // it may be there, so its contents are not sent again
			u.shard.Fail(fmt.Errorf("whether the vault has pack %s: %w", id, err))
		}
		u.packs[id] = size
	}
	return size, size >= 0
}

// previousOf yields what the last version has of the paths of the shard.
func (u *upload) previousOf(ctx context.Context) func(func(*tree.Entry, error) bool) {
	p := u.shard.Plan()
	to, ends := p.To(u.shard.Number)
	return func(yield func(*tree.Entry, error) bool) {
		for e, err := range u.prev.EntriesFrom(ctx, p.Shards[u.shard.Number].From) {
			if err == nil && ends && e.Path >= to || !yield(e, err) {
				return
			}
		}
	}
}

// takePlanned takes what the plan says instead of walking the source.
func (p *planner) takePlanned() error {
	plan, n := p.shard.Plan(), p.shard.Number
	from := plan.Shards[n].From
	to, ends := plan.To(n)
	takeOne, err := p.takerOfPlanned()
	if err != nil {
		return err
	}
	for i, page := range plan.Pages {
		if i+1 < len(plan.Pages) && plan.Pages[i+1].First <= from {
			continue
		}
		if ends && page.First >= to {
			break
		}
		entries, err := plan.Page(p.ctx, i)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Path < from || ends && e.Path >= to {
				continue
			}
			if err := takeOne(e); err != nil {
				return err
			}
		}
	}
	return p.passRest()
}

// takerOfPlanned returns a function that takes an entry of the plan.
func (p *planner) takerOfPlanned() (func(codec.Planned) error, error) {
	if p.bucket != nil {
		return p.takePinned, nil
	}
	info, err := os.Stat(p.path)
	if err != nil {
		return nil, err
	}
	w := p.newWalker(nil)
	return func(e codec.Planned) error {
		file := p.path
		if info.IsDir() {
			file = filepath.Join(p.path, filepath.FromSlash(e.Path))
		}
		return p.takeOne(w, e, file)
	}, nil
}

// takePinned takes an object as the plan has pinned it.
func (p *planner) takePinned(e codec.Planned) error {
	if e.IsFile() && e.ETag == "" {
		return fmt.Errorf("the plan does not pin %q: it is the plan of a folder, and %s is a bucket", e.Path, p.bucket)
	}
	pin := &vault.Pinned{ETag: e.ETag, Version: e.Version}
	pin.Name, pin.Size, pin.Modified = e.Path, e.Size, e.ModTime
	now := *e.Entry
	if e.IsFile() {
		describeObject(&now, *pin, p.host)
	}
	return p.take(found{entry: &now, more: e.More, plan: e.Entry, pin: pin})
}

// takeOne takes an entry of the plan if the source has it as it was.
func (p *planner) takeOne(w *walker, e codec.Planned, file string) error {
	f, err := p.look(w, e, file)
	var changed *ChangedError
	if errors.As(err, &changed) {
		return err
	}
	if err != nil {
		p.fail(e.Path, err)
		return nil
	}
	return p.take(f)
}

// look finds an entry of the plan in the source.
func (u *upload) look(w *walker, e codec.Planned, file string) (f found, err error) {
	stat := os.Lstat
	if u.Links == FollowLinks || e.Path == "" {
		stat = os.Stat
	}
	info, err := stat(file)
	if err == nil && u.Links == FollowLinks && !info.IsDir() {
		file, err = filepath.EvalSymlinks(absolute(file))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return f, &ChangedError{e.Path, "is gone"}
	}
	if err != nil {
		return f, err
	}
	mode := info.Mode()
	switch {
	case mode.IsDir() != e.IsDir(), mode.IsRegular() != e.IsFile(), !mode.IsDir() && !mode.IsRegular() && mode&fs.ModeSymlink == 0:
		return f, &ChangedError{e.Path, "is of another kind"}
	}
	now := w.entry(e.Path, info)
	if e.IsLink() {
		if now.Link, err = os.Readlink(file); err != nil {
			return f, err
		}
	}
	if what := differs(now, e.Entry); what != "" {
		return f, &ChangedError{e.Path, what}
	}
	return found{entry: now, file: file, more: e.More, plan: e.Entry}, nil
}

// differs says how an entry of the source differs from the planned one.
func differs(now, then *tree.Entry) string {
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	switch {
	case now.Size != then.Size:
		return fmt.Sprintf("has %d bytes, and had %d", now.Size, then.Size)
	case now.Link != then.Link:
		return fmt.Sprintf("is a link to %q, and was one to %q", now.Link, then.Link)
	case !now.ModTime.Equal(then.ModTime) && now.IsDir():
		return fmt.Sprintf("has other files: it was changed at %s, and was last changed at %s then", at(now.ModTime), at(then.ModTime))
	case !now.ModTime.Equal(then.ModTime):
		return fmt.Sprintf("was changed at %s, and was last changed at %s then", at(now.ModTime), at(then.ModTime))
	case now.Mode != then.Mode:
		return fmt.Sprintf("has the mode %v, and had %v", now.Mode, then.Mode)
	}
	return ""
}

// finishShard stores what was made of the shard, if that is all of it.
func (f *finisher) finishShard(ctx context.Context) (*Result, error) {
	c, _, err := f.index.Finish(ctx)
	if err == nil {
		err = f.fails.Err("work")
	}
	if err != nil {
		return nil, errors.Join(err, f.check.recordRest(ctx))
	}
	res := &codec.Shard{Parts: c.Parts, Last: c.Last, Totals: c.Totals, HasTree: c.HasTree, SentBytes: f.SentBytes.Load()}
	if c.HasTree {
		res.Tree = c.Nodes
	}
	for _, o := range f.index.Packs() {
		res.Packs = append(res.Packs, *o)
	}
	slices.SortFunc(res.Packs, func(a, b tree.Object) int { return strings.Compare(string(a.ID[:]), string(b.ID[:])) })
	_, first, err := f.shard.Finish(ctx, res)
	if err != nil {
		return nil, errors.Join(err, f.check.recordRest(ctx))
	}
	return &Result{Committed: first}, nil
}
