package rekey

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/packs"
)

// Options configure [Reseal].
type Options struct {
	// Progress, if not nil, counts what has been done so far.
	Progress *Progress
}

// A Result is the result of [Reseal], or how far it came before an error.
type Result struct {
	// Version is the newest version. It may be nil after an error. Made reports whether
	// this run made it.
	Version *dataset.Version
	Made    bool
	Stats
}

// resealSource marks the records. Each entry of a record stands for a pack: its path is
// resealFolder and the ID of the old pack, and its extent is the whole new one.
const (
	resealSource = "reseal"
	resealFolder = ".vaultpack-reseal/"
)

// Reseal reseals the packs of the newest version that are sealed under older data keys.
// It seals them under the version's own data key, which after [Rotate] is the newest,
// and makes a version with the same files and nothing under an older key. If nothing is
// sealed under an older key, it makes no version. Older versions stay unchanged, and
// readable with their keys, until they are removed.
//
// Each pack is read completely and compared with its pin before its copy is used.
// Packs are resealed one after another, with the entries of one index part in memory.
// Progress is recorded in the vault, so that another run can continue.
//
// Like an upload, it returns [dataset.ErrConflict] if another writer has made a version
// in the meantime, and [dataset.ErrCollected] if a collection has ended it.
func Reseal(ctx context.Context, d *dataset.Dataset, opts Options) (Result, error) {
	l, err := commit.Begin(ctx, d, resealSource)
	if err != nil {
		return Result{}, err
	}
	defer l.Abandon()
	s := &resealing{dataset: d, copies: map[envelope.ObjectID]*tree.Object{}, lease: l}
	if opts.Progress != nil {
		opts.Progress.now.Store(&s.counters)
	}
	v, made, err := s.reseal(l.Context())
	err = l.Because(err)
	if end := l.End(ctx); end != nil && err == nil {
		err = fmt.Errorf("version %d is resealed, but: %w", v.Number, end)
	}
	return Result{Version: v, Made: made, Stats: s.stats()}, err
}

func (s *resealing) reseal(ctx context.Context) (v *dataset.Version, made bool, err error) {
	prev := s.lease.Previous()
	if prev == nil {
		return nil, false, fmt.Errorf("dataset %q: %w", s.dataset.Name, dataset.ErrUnknownDataset)
	}
	if s.key, err = s.lease.SealingKey(ctx); err != nil {
		return nil, false, err
	}
	if made, err = underOther(ctx, prev, s.key.ID()); err != nil {
		return nil, false, err
	}
	v = prev
	if made {
		if err := s.resume(ctx, s.lease.Pending()); err != nil {
			return nil, false, err
		}
		if v, err = s.run(ctx, prev); err != nil {
			return nil, false, err
		}
	}
	// The version exists; a failure to remove the records does not change that.
	if err := s.lease.Forget(ctx); err != nil {
		return v, made, fmt.Errorf("version %d is resealed, but removing the records failed: %w", v.Number, err)
	}
	return v, made, nil
}

// A resealing is one run of Reseal.
type resealing struct {
	counters
	dataset *dataset.Dataset
	key     *envelope.DataKey
	copies  map[envelope.ObjectID]*tree.Object // of old packs, by their IDs

	lease    *commit.Lease
	done     []*tree.Entry // not recorded yet
	recorded time.Time
}

// resume takes over the packs that earlier runs have copied to the same data key.
func (s *resealing) resume(ctx context.Context, p *commit.Pending) error {
	for r, err := range p.Records(ctx, resealSource) {
		if err != nil {
			return err
		}
		if r.KeyID != s.key.ID() {
			continue // it is copied again
		}
		for _, e := range r.Entries {
			old, err := envelope.ParseObjectID(strings.TrimPrefix(e.Path, resealFolder))
			if err != nil || len(e.Extents) != 1 {
				continue
			}
			if to := e.Extents[0].Pack; to.KeyID == r.KeyID && objects.Of(s.dataset).HasPack(ctx, to) {
				s.copies[old] = to
				s.Resumed.Add(1)
			}
		}
	}
	return nil
}

// run makes the version. It records what was done in any case.
func (s *resealing) run(ctx context.Context, prev *dataset.Version) (v *dataset.Version, err error) {
	committed := false
	defer func() {
		if !committed {
			err = errors.Join(err, s.checkpoint(context.WithoutCancel(ctx), 0))
		}
	}()
	w := commit.NewIndex(s.dataset, s.key, nil)
	for i := range prev.Parts {
		entries, err := prev.ReadPart(ctx, i)
		if err != nil {
			return nil, err
		}
		for _, pieces := range packs.PackReads(entries) {
			if err := s.pack(ctx, pieces); err != nil {
				return nil, err
			}
		}
		for _, e := range entries {
			if err := w.Add(ctx, e, commit.Step{}); err != nil {
				return nil, err
			}
		}
	}
	c, _, err := w.Finish(ctx)
	if err != nil {
		return nil, err
	}
	c.Totals.Flaws = prev.Totals.Flaws // of the source; it is not read here
	c.Relied = w.Packs()
	v, err = s.lease.Commit(ctx, s.key, c)
	committed = err == nil
	return v, err
}

// pack moves the pieces, which are all pieces of one pack in a part of the index, to the
// pack's copy.
func (s *resealing) pack(ctx context.Context, pieces []packs.Piece) (err error) {
	old := pieces[0].Extent.Pack
	if old.KeyID == s.key.ID() {
		return nil
	}
	h := &spans{d: s.dataset, from: old.KeyID, to: s.key.ID(), sums: map[span]envelope.ContentSum{}}
	for _, p := range pieces {
		h.want(p.Extent)
	}
	to := s.copies[old.ID]
	if to == nil {
		if to, err = s.copy(ctx, old, h); err != nil {
			return err
		}
	}
	if err := s.readSpans(ctx, old, h); err != nil {
		return err
	}
	for _, p := range pieces {
		for i := range p.Entry.Extents {
			x := &p.Entry.Extents[i]
			if x.Pack.ID != old.ID {
				continue
			}
			if x.HasSum() {
				x.Sum = h.sums[spanOf(*x)]
			}
			x.Pack = to
		}
	}
	return nil
}

// copy reseals a pack. If the pack turns out not to be the pinned one, or a sum does
// not match, nothing is stored.
func (s *resealing) copy(ctx context.Context, old *tree.Object, h *spans) (*tree.Object, error) {
	r, closer, err := objects.Of(s.dataset).OpenPack(ctx, old)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	n := int64(0)
	o, err := objects.Of(s.dataset).WritePack(ctx, s.key, func(w io.Writer) error {
		if err := h.copy(ctx, w, r, 0); err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil {
			return err
		}
		if r.Pin() != old.Pin {
			return envelope.ErrAuthentication
		}
		n, err = old.PlaintextSize()
		return err
	})
	if err != nil {
		return nil, objects.Of(s.dataset).PackError(old, err)
	}
	s.copies[old.ID] = &o
	s.Packs.Add(1)
	s.Bytes.Add(n)
	s.done = append(s.done, &tree.Entry{Path: resealFolder + old.ID.String(), Size: n, ModTime: time.Unix(0, 0),
		Extents: []tree.Extent{{Pack: &o, Length: n}}})
	return &o, s.checkpoint(ctx, 5*time.Second)
}

// checkpoint records what is done, unless the last record is recent.
func (s *resealing) checkpoint(ctx context.Context, every time.Duration) error {
	if len(s.done) == 0 || time.Since(s.recorded) < every {
		return nil
	}
	if err := s.lease.Record(ctx, s.key, s.done); err != nil {
		return err
	}
	s.done, s.recorded = nil, time.Now()
	return nil
}

// readSpans reads those spans of a pack whose sums are still missing, because the pack
// was copied before or spans overlap.
func (s *resealing) readSpans(ctx context.Context, old *tree.Object, h *spans) error {
	size, err := old.PlaintextSize()
	for err == nil && len(h.left) > 0 {
		first, end := h.left[0].off, int64(0)
		for _, x := range h.left {
			end = max(end, x.off+x.n)
		}
		var r io.Reader
		var closer io.Closer
		if r, closer, err = objects.Of(s.dataset).OpenRange(ctx, old, size, first, end-first); err != nil {
			return err
		}
		err = h.copy(ctx, io.Discard, r, first)
		closer.Close()
	}
	if err != nil {
		return objects.Of(s.dataset).PackError(old, err)
	}
	return nil
}

// underOther reports whether anything that belongs to the version is sealed under
// another data key.
func underOther(ctx context.Context, v *dataset.Version, id envelope.KeyID) (bool, error) {
	if v.KeyID != id {
		return true, nil
	}
	for _, p := range v.Parts {
		if p.KeyID != id {
			return true, nil
		}
	}
	for i := range v.Parts {
		entries, err := v.ReadPart(ctx, i)
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			for _, x := range e.Extents {
				if x.Pack.KeyID != id {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// UnderOtherKeys returns, in order, the numbers of the versions that have
// objects sealed under a data key other than id.
func UnderOtherKeys(ctx context.Context, d *dataset.Dataset, id envelope.KeyID) (numbers []int64, err error) {
	all, err := d.Versions(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		v, err := d.Version(ctx, n)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, dataset.ErrUnknownVersion) {
			continue // removed in the meantime
		}
		other := false
		if err == nil {
			other, err = underOther(ctx, v, id)
		}
		if err != nil {
			return nil, fmt.Errorf("version %d: %w", n, err)
		}
		if other {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}
