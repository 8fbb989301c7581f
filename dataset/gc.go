package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/vault"
)

// CollectOptions configure [Dataset.Collect].
type CollectOptions struct {
	// Grace is how old an object must be to be removed. The pending records of an
	// unfinished upload are kept as long as any of them is younger.
	Grace time.Duration
	// EndUploads treats every upload in progress as dead. Uploads that are
	// still running fail at their end and must be run again.
	EndUploads bool
	// DryRun counts without removing anything.
	DryRun bool
}

// A CollectResult is the result of [Dataset.Collect], or how far it came before an
// error.
type CollectResult struct {
	// The objects that were removed, and their bytes.
	Packs, Indexes, Pending, Keyrings, Leases int
	// Plans counts the objects of plans that have ended.
	Plans int
	Bytes int64
	// Young counts objects that nothing needs but that are younger than the grace and
	// therefore stay.
	Young      int
	YoungBytes int64
	// Closed is the highest number that was closed, so that no version gets it; 0 if none
	// was.
	Closed int64
	// Uploads counts unfinished multipart uploads that were aborted.
	Uploads int
	// Strange holds objects among the pending records that are not pending records.
	// They are not removed.
	Strange []string
}

// A collection is one run of Collect.
type collection struct {
	CollectOptions
	CollectResult
	young int // objects of plans that stay for now
}

// ErrBusy is returned if an upload is, or may be, in progress.
var ErrBusy = errors.New("an upload is under way")

// A BusyError reports which upload prevents a dataset from being collected or
// removed. It wraps ErrBusy.
type BusyError struct {
	Dataset string
	// Since is when the upload says that it began, or zero if it does not say.
	// Last is its last sign of life.
	Since, Last time.Time
	// Dead reports whether the upload has given no sign of life for too long, but
	// has left records to continue from that are younger than the grace.
	Dead bool
}

func (e *BusyError) Error() string {
	last := e.Last.UTC().Format(time.RFC3339)
	if e.Dead {
		return fmt.Sprintf("nothing is deleted from dataset %q: an upload was interrupted (last seen at %s), and its records are younger than the grace period", e.Dataset, last)
	}
	since := ""
	if !e.Since.IsZero() {
		since = " since " + e.Since.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("nothing is deleted from dataset %q: %v%s; its last sign of life was at %s", e.Dataset, ErrBusy, since, last)
}

func (e *BusyError) Unwrap() error { return ErrBusy }

// errNumberTaken means that somebody committed during a collection.
var errNumberTaken = errors.New("uploads are committed all the time, so nothing is deleted; try again")

// Collect removes what nothing needs any more: packs and index parts that neither a
// version nor a kept unfinished upload names; the records of older unfinished uploads;
// plans that have ended;
// keyrings that nothing is sealed under; and what writers that died left half-written. If
// a version cannot be read, Collect removes nothing, since it cannot know what that
// version needs. If an upload is under way, the error is a [*BusyError], and if a plan has
// not ended, an [*OpenPlanError].
//
// Collect never removes anything that an upload will commit, no matter in which order
// their steps occur or how long either of them sleeps. If an upload has a young lease,
// nothing is removed. An upload with an old lease may be dead or asleep: before anything
// is removed, its version number is closed, so that it cannot commit. No upload continues
// from records that were written under a number up to the highest closed one.
func (d *Dataset) Collect(ctx context.Context, opts CollectOptions) (CollectResult, error) {
	if err := d.begin(ctx); err != nil {
		return CollectResult{}, err
	}
	c := &collection{CollectOptions: opts}
	err := errNumberTaken
	for try := 0; try < 10 && err == errNumberTaken; try++ {
		err = c.collect(ctx, d)
	}
	switch {
	case err != nil:
	case c.DryRun:
		c.Uploads, err = d.set().CountOlder(ctx, c.Grace)
	default:
		c.Uploads, err = d.set().SweepOlder(ctx, c.Grace)
	}
	return c.CollectResult, d.set().Because(err)
}

// collect does it once. The order of its steps makes it safe; docs/FORMAT.md, Collection,
// has the argument.
func (c *collection) collect(ctx context.Context, d *Dataset) error {
	now := time.Now()
	old, young, err := c.candidates(ctx, d, now.Add(-c.Grace))
	if err != nil {
		return err
	}
	c.young = 0
	plans, err := c.plans(ctx, d, now.Add(-c.Grace))
	if err != nil {
		return err
	}
	left, err := d.unfinished(ctx)
	if err != nil {
		return err
	}
	c.Strange = left.strange
	all, err := d.set().Numbers(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		there, err := d.set().Exists(ctx)
		if err != nil {
			return err
		}
		if !there && left.empty() && len(plans) == 0 {
			return fmt.Errorf("dataset %q: %w", d.Name, ErrUnknownDataset)
		}
	}
	fence, err := left.decide(c, all, now)
	if err != nil {
		return d.since(ctx, err)
	}
	used, err := d.markAll(ctx, all, left)
	if err != nil {
		return err
	}
	if err := c.end(ctx, d, left, fence); err != nil {
		return err
	}
	for _, o := range plans {
		if err := c.remove(ctx, d, o, &c.Plans); err != nil {
			return err
		}
	}
	c.Young, c.YoungBytes = c.young, 0
	for _, o := range young {
		if !used.has(o.Name) {
			c.Young++
			c.YoungBytes += o.Size
		}
	}
	return c.sweep(ctx, d, old, used)
}

// end ends the uploads that are dead, and makes sure that no plan was made meanwhile.
func (c *collection) end(ctx context.Context, d *Dataset, left *unfinished, fence []int64) error {
	for _, o := range left.doomed {
		if err := c.remove(ctx, d, o, &c.Pending); err != nil {
			return err
		}
	}
	for _, number := range fence {
		if err := c.close(ctx, d, number); err != nil {
			return err
		}
	}
	// Only after closing the numbers: if this collection dies here, the next one must see
	// these.
	for _, l := range left.leases {
		if err := c.remove(ctx, d, l.Object, &c.Leases); err != nil {
			return err
		}
	}
	return c.stillClosed(ctx, d)
}

// has reports whether an object is needed, or is not vaultpack's.
func (used *usedObjects) has(name string) bool {
	if strings.HasSuffix(path.Dir(name), "/keys") {
		id, err := envelope.ParseKeyID(strings.TrimSuffix(path.Base(name), ".json"))
		return err != nil || used.keys[id]
	}
	return used.names[name]
}

// close takes the number, so that no upload can commit it.
func (c *collection) close(ctx context.Context, d *Dataset, number int64) error {
	if !c.DryRun {
		err := d.set().Vault.Create(ctx, d.set().VersionName(number), []byte(codec.ClosedMark))
		if errors.Is(err, fs.ErrExist) {
			return errNumberTaken
		}
		if err != nil {
			return fmt.Errorf("closing number %d: %w", number, err)
		}
	}
	c.Closed = number
	return nil
}

// candidates returns the objects that are old enough to be removed, and those that are
// not.
func (c *collection) candidates(ctx context.Context, d *Dataset, limit time.Time) (old, young []vault.Object, err error) {
	for _, folder := range []string{"/packs/", "/index/", "/keys/"} {
		for o, err := range d.set().Vault.List(ctx, d.Name+folder) {
			if err != nil {
				return nil, nil, fmt.Errorf("listing the vault: %w", err)
			}
			if o.Modified.After(limit) {
				young = append(young, o)
			} else {
				old = append(old, o)
			}
		}
	}
	return old, young, nil
}

// sweep removes the candidates that are not used.
func (c *collection) sweep(ctx context.Context, d *Dataset, old []vault.Object, used *usedObjects) error {
	for _, o := range old {
		counter := &c.Packs
		switch dir := path.Dir(o.Name); {
		case strings.HasSuffix(dir, "/index"):
			counter = &c.Indexes
		case strings.HasSuffix(dir, "/keys"):
			counter = &c.Keyrings
		}
		if used.has(o.Name) {
			continue
		}
		if err := c.remove(ctx, d, o, counter); err != nil {
			return err
		}
		if counter != &c.Keyrings {
			c.Bytes += o.Size
		}
	}
	return nil
}

func (c *collection) remove(ctx context.Context, d *Dataset, o vault.Object, counter *int) error {
	*counter++
	if c.DryRun {
		return nil
	}
	if err := d.set().Vault.Delete(ctx, o.Name); err != nil {
		return fmt.Errorf("removing %s: %w", o.Name, err)
	}
	return nil
}

// usedObjects holds what is needed: packs and index parts by name, and data keys.
type usedObjects struct {
	names map[string]bool
	keys  map[envelope.KeyID]bool
}

// markAll marks what the versions and the kept records name.
func (d *Dataset) markAll(ctx context.Context, all objects.Numbers, left *unfinished) (*usedObjects, error) {
	used := &usedObjects{map[string]bool{}, map[envelope.KeyID]bool{}}
	for _, t := range all {
		if t.Mark != "" {
			if err := d.set().CheckMark(ctx, t); err != nil {
				return nil, fmt.Errorf("version number %d cannot be read, so nothing is deleted: %w", t.Number, err)
			}
			continue
		}
		v, err := d.Version(ctx, t.Number)
		if errors.Is(err, ErrUnknownVersion) {
			continue // it has just been removed
		}
		if err != nil {
			return nil, fmt.Errorf("version %d cannot be read, so nothing is deleted: %w", t.Number, err)
		}
		if err := v.mark(ctx, used); err != nil {
			return nil, fmt.Errorf("the index of version %d cannot be read, so nothing is deleted: %w", t.Number, err)
		}
	}
	for _, o := range left.kept {
		record, key, err := d.set().ReadRecord(ctx, o.Name)
		if errors.Is(err, ErrMissing) {
			continue // its upload has just finished
		}
		var entries []*tree.Entry
		if err == nil {
			// It does not matter who signed it: keeping too much does no harm.
			_, entries, err = d.set().Listed(record)
		}
		if err != nil {
			return nil, fmt.Errorf("a record of an unfinished upload cannot be read, so nothing is deleted (--end-uploads deletes the record, and what it names is uploaded again): %s: %w", o.Name, objects.Tampered(err))
		}
		used.keys[key] = true
		used.packs(d, entries)
	}
	return used, nil
}

// mark marks the objects that the version names, and the keys they are sealed under.
func (v *Version) mark(ctx context.Context, used *usedObjects) error {
	used.keys[v.KeyID] = true
	for _, g := range objects.RootOf(v).Grants {
		if !g.ReadOnly && g.Epoch == objects.RootOf(v).Chain.Last().Epoch {
			used.keys[g.KeyID] = true // the next upload may continue under it
		}
	}
	for i, part := range v.Parts {
		name := v.set().IndexName(part.ID)
		if used.names[name] {
			continue // the same part in another version
		}
		entries, err := v.readPart(ctx, i)
		if err != nil {
			return err
		}
		used.names[name] = true
		used.keys[part.KeyID] = true
		used.packs(v.of(), entries)
	}
	return nil
}

func (used *usedObjects) packs(d *Dataset, entries []*tree.Entry) {
	for _, e := range entries {
		for _, x := range e.Extents {
			used.names[d.set().PackName(x.Pack.ID)] = true
			used.keys[x.Pack.KeyID] = true
		}
	}
}
