package uploader

import (
	"bytes"
	"context"
	"fmt"
	"path"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// An item is one entry of the new version on its way into the index.
type item struct {
	entry *dataset.Entry
	file  string // where it is read from
	// planned is the size that room was made for in a pack.
	planned int64
	// unchanged says that entry is the previous version's, and gap that files
	// which that version had before it are gone.
	unchanged, gap bool
	jobs           []*job // that write its contents
	resumed        bool   // an unfinished upload has sent it
	settled        bool   // nothing remains to be decided, and the jobs are under way
	failed         error  // set by its job
}

// A job writes one pack.
type job struct {
	items []*item // small files, as a tar; or one large file, of which
	off   int64   // this piece from off
	n     int64   // of n bytes is written
	piece bool

	done chan struct{} // closed when the pack is in the vault, or err is set
	pack *dataset.Object
	err  error
	// record is what is to be remembered of it, should the upload not get to its end.
	record []*dataset.Entry
}

// maxWindow bounds the items that are held until they can go to the index.
const maxWindow = 64 << 10

// A planner decides, in the order of the walk, what becomes of each file.
type planner struct {
	*Upload
	ctx     context.Context
	jobs    chan<- *job
	windows chan<- []*item

	prev    *cursor
	pending *cursor
	has     map[envelope.ObjectID]bool

	window  []*item
	samples map[string][]*item // begun, and not yet complete
	open    *job               // the pack being filled
	fill    int64              // plaintext bytes in it
}

// plan walks the source, and sends jobs to the pack workers and items to the
// finisher. An item is sent after its jobs, so waiting for them cannot block.
func (u *Upload) plan(ctx context.Context, jobs chan<- *job, windows chan<- []*item) error {
	p := &planner{Upload: u, ctx: ctx, jobs: jobs, windows: windows,
		has: map[envelope.ObjectID]bool{}, samples: map[string][]*item{}}
	none := func(func(*dataset.Entry, error) bool) {}
	p.prev, p.pending = newCursor(none), newCursor(u.pending.Entries(ctx))
	if u.prev != nil {
		p.prev = newCursor(u.prev.Entries(ctx))
	}
	defer p.prev.stop()
	defer p.pending.stop()

	if err := u.newWalker(p.take).walk(ctx, u.Source); err != nil {
		return err
	}
	for {
		e, err := p.prev.next()
		if err != nil {
			return err
		}
		if e == nil {
			break
		}
		p.removed(e)
	}
	if err := u.checkWalk(); err != nil {
		return err
	}
	if err := p.closeSamples(); err != nil {
		return err
	}
	if err := p.dispatch(); err != nil {
		return err
	}
	return p.send()
}

func (p *planner) removed(e *dataset.Entry) {
	if e.IsFile() {
		p.Removed.Add(1)
	}
}

// take is called for everything that the walk finds.
func (p *planner) take(f found) error {
	it := &item{entry: f.entry, file: f.file, planned: f.entry.Size}
	then, err := p.before(it)
	if err != nil {
		return err
	}
	candidates, err := p.recorded(f.entry.Path)
	if err != nil {
		return err
	}
	p.window = append(p.window, it)
	if !f.entry.IsFile() {
		it.settled = true
		it.unchanged = then != nil && sameAttributes(f.entry, then)
	} else if err := p.file(it, then, candidates, f.more); err != nil {
		return err
	}
	if len(p.window) < maxWindow {
		return nil
	}
	// Something at the head of the window keeps it from moving on.
	if err := p.closeSamples(); err != nil {
		return err
	}
	if err := p.dispatch(); err != nil {
		return err
	}
	return p.send()
}

// before moves through the previous version up to the item, and gives its entry
// there if it has one of the same path.
func (p *planner) before(it *item) (*dataset.Entry, error) {
	for {
		e, err := p.prev.peek()
		if err != nil || e == nil || e.Path > it.entry.Path {
			return nil, err
		}
		p.prev.next()
		if e.Path == it.entry.Path {
			return e, nil
		}
		p.removed(e)
		it.gap = true
	}
}

// recorded gives what unfinished uploads have recorded of the path.
func (p *planner) recorded(name string) ([]*dataset.Entry, error) {
	var out []*dataset.Entry
	for {
		e, err := p.pending.peek()
		if err != nil {
			// It was readable a moment ago; what it named is sent again.
			p.Warn(fmt.Errorf("a record of an unfinished upload cannot be used any more: %w", err))
			p.pending.stop()
			p.pending = newCursor(func(func(*dataset.Entry, error) bool) {})
			return nil, nil
		}
		if e == nil || e.Path > name {
			return out, nil
		}
		p.pending.next()
		if e.Path == name {
			out = append(out, e)
		}
	}
}

// file settles a regular file, or keeps it until its sample is complete.
func (p *planner) file(it *item, then *dataset.Entry, candidates []*dataset.Entry, more bool) error {
	p.Files.Add(1)
	p.Bytes.Add(it.entry.Size)
	dir, name := path.Split(it.entry.Path)
	key := dir + sampleStem(name)
	small, err := p.decide(it, then, candidates)
	if err != nil {
		return err
	}
	sample := p.samples[key]
	if small {
		sample = append(sample, it)
	}
	if more && small {
		p.samples[key] = sample
	}
	if more || len(sample) == 0 {
		return nil
	}
	delete(p.samples, key)
	return p.sample(sample)
}

// decide looks whether the file is one of the previous version, one that an
// unfinished upload has sent, or a large one, whose pieces it sends. It tells
// whether it is a small one, which has to be settled with its sample.
func (p *planner) decide(it *item, then *dataset.Entry, candidates []*dataset.Entry) (small bool, err error) {
	if err := p.compare(it, then); err != nil {
		it.failed, it.settled = err, true
		return false, nil
	}
	if tarSize(it.entry)+tarEnd <= p.PackSize {
		if !it.unchanged && it.entry.Extents == nil {
			p.resumeSmall(it, candidates)
		}
		return true, nil
	}
	if it.unchanged || it.entry.Extents != nil {
		it.settled = true
		return false, nil
	}
	return false, p.large(it, candidates)
}

// compare sets the item unchanged, or gives it the extents that it had, or
// counts it as changed or added.
func (p *planner) compare(it *item, then *dataset.Entry) error {
	if then == nil || !then.IsFile() {
		p.Added.Add(1)
		return nil
	}
	same := sameFile(it.entry, then)
	if p.Checksum {
		if then.Sum != nil && then.Size == it.entry.Size {
			sum, err := sumFile(p.ctx, it)
			if err != nil {
				p.fail(it.entry.Path, err)
				return err
			}
			if string(sum) == string(then.Sum) {
				it.entry.Sum, it.entry.Extents = sum, then.Extents
				it.unchanged = same
			}
		}
	} else if same {
		it.unchanged = true
	}
	if it.unchanged {
		it.entry = then
		p.UnchangedFiles.Add(1)
		p.SameBytes.Add(then.Size)
		return nil
	}
	p.Changed.Add(1)
	return nil
}

// resumeSmall gives the item the extents that an unfinished upload has recorded.
func (p *planner) resumeSmall(it *item, candidates []*dataset.Entry) {
	var sum []byte
	for _, c := range candidates {
		if !sameFile(it.entry, c) || len(c.Extents) != 1 || c.Extents[0].Length != c.Size || !p.hasPack(c.Extents[0].Pack) {
			continue
		}
		if p.Checksum && sum == nil {
			var err error
			if sum, err = sumFile(p.ctx, it); err != nil {
				return // it is told by the one that is to send it
			}
		}
		if !p.Checksum || bytes.Equal(sum, c.Sum) {
			it.entry.Extents, it.entry.Sum, it.resumed = c.Extents, c.Sum, true
			p.ResumedFiles.Add(1)
			p.ResumedBytes.Add(c.Size)
			return
		}
	}
}

func (p *planner) hasPack(o *dataset.Object) bool {
	has, known := p.has[o.ID]
	if !known {
		has = p.Dataset.HasPack(p.ctx, o)
		p.has[o.ID] = has
	}
	return has
}
