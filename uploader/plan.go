package uploader

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/tarpack"
	"github.com/vaultpack/vaultpack/vault"
)

// An item is one entry of the new version on its way to the index.
type item struct {
	entry *tree.Entry
	// then is the previous version's entry of the same path, nil if there is none.
	then *tree.Entry
	file string      // its path on this machine
	plan *tree.Entry // what a plan says of it, nil if there is none
	// pin is the state in which an object is read, nil for a file. replaced says that it was
	// found to be in another.
	pin      *vault.Pinned
	replaced atomic.Bool
	// planned is the size that was reserved for it in a pack.
	planned int64
	// known are contents in the vault that may be the file's. If trusted, the first of
	// them are, because the file's times say so.
	known   []known
	trusted bool
	same    bool    // trusted to be exactly what the previous version has
	gap     bool    // files that preceded it in the previous version are gone
	sample  []*item // the items that share a pack with it, including itself; nil if it is alone
	jobs    []*job  // the jobs that write its contents
	settled bool    // everything has been decided, and the jobs have been started
	// The outcome: its contents were in the vault, from an unfinished upload if resumed;
	// or they were sent; or it could not be read.
	reused, resumed bool
	sent            bool
	matched         bool // its contents are in the vault, but it may be sent with its sample
	torn            bool // it is accepted that it changes while it is read
	failed          error
}

// A job writes one pack.
type job struct {
	items []*item // small files, as a tar; or one large file, of which
	off   int64   // this piece from off
	n     int64   // of n bytes is written
	piece bool
	// known are extents in the vault that may hold the piece.
	known []knownExtent
	like  *job // the piece with the same contents, as both are holes
	// read is closed when a piece of a stream has been read, and n is known. more says
	// that the stream may continue.
	read chan struct{}
	more bool

	done chan struct{} // closed when the contents are in the vault, or err is set
	pack *tree.Object
	// extent is where the piece is finally stored: where it was before if reused, or
	// where an unfinished upload put it if resumed.
	extent          tree.Extent
	reused, resumed bool
	err             error
	// record is what is recorded about it, in case the upload does not finish.
	record []*tree.Entry
}

// maxWindow limits the items that wait for their turn in the index.
const maxWindow = 64 << 10

// A planner decides, in the order of the walk, what to do with each file.
type planner struct {
	*upload
	ctx     context.Context
	jobs    chan<- *job
	windows chan<- []*item

	old     *cursor         // entries of the previous version
	records *cursor         // and of unfinished uploads
	unread  map[string]bool // paths that could not be read, and whether anything below them is kept
	gap     bool            // entries of the previous version were left out since the last item

	lastPack *tree.Object // the pack last found in the vault

	window  []*item
	samples map[string][]*item // begun, and not complete yet
	pool    []unit             // units waiting to be mixed
	open    *job               // the pack being filled
	fill    int64              // plaintext bytes in it
}

// plan walks the source, and sends jobs to the pack workers and items to the
// finisher. An item is sent after its jobs, so waiting for them cannot block.
func (u *upload) plan(ctx context.Context, jobs chan<- *job, windows chan<- []*item) error {
	p := &planner{upload: u, ctx: ctx, jobs: jobs, windows: windows, unread: map[string]bool{}, samples: map[string][]*item{}}
	previous := noEntries
	switch {
	case u.prev != nil && u.shard != nil:
		previous = u.previousOf(ctx)
	case u.prev != nil:
		previous = u.prev.Entries(ctx)
	}
	p.old, p.records = newCursor(previous), newCursor(u.pending.Entries(ctx))
	defer func() {
		p.old.stop()
		p.records.stop()
	}()
	if u.stream != nil {
		return p.takeStream()
	}
	take := p.takeFolder
	if u.shard != nil {
		take = p.takePlanned
	}
	if err := take(); err != nil {
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

// takeFolder takes all of the source.
func (p *planner) takeFolder() error {
	if p.bucket != nil {
		w := &bucketWalker{upload: p.upload, yield: p.take, unfit: func(name string, err error) {
			p.fail(name, err)
			p.unknown++ // no version can have it
		}}
		if err := w.walk(p.ctx); err != nil {
			return err
		}
		return p.rest()
	}
	w := p.newWalker(p.take)
	w.failed = p.unreadable
	if err := w.walk(p.ctx, p.path); err != nil {
		return err
	}
	return p.rest()
}

// rest is what follows after all of the source has been taken.
func (p *planner) rest() error {
	if err := p.passRest(); err != nil {
		return err
	}
	for _, kept := range p.unread {
		if !kept {
			p.unknown++
		}
	}
	return p.checkWalk()
}

func noEntries(func(*tree.Entry, error) bool) {}

// unreadable remembers what the walk could not read. The entries of the previous version
// are kept.
func (p *planner) unreadable(path string, err error) {
	p.fail(path, err)
	p.unread[path] = false
}

// kept reports whether an entry of the previous version, which the walk did not find,
// could not be read, so that it may still exist.
func (p *planner) kept(e *tree.Entry) bool {
	if !p.Filter.Selects(e.Path) {
		return false
	}
	under := func(path string) bool {
		_, ok := p.unread[path]
		if ok = ok && p.inVaultOrWarn(e.Extents); ok {
			p.unread[path] = true
		}
		return ok
	}
	for i, c := range []byte(e.Path) {
		if c == '/' && under(e.Path[:i]) {
			return true
		}
	}
	return under(e.Path)
}

// take is called for everything that the walk finds.
func (p *planner) take(f found) error {
	then, err := p.before(f.entry.Path)
	if err != nil {
		return err
	}
	candidates, err := p.recorded(f.entry.Path)
	if err != nil {
		return err
	}
	it := &item{entry: f.entry, then: then, file: f.file, plan: f.plan, pin: f.pin, planned: f.entry.Size, gap: p.gap}
	p.gap = false
	p.window = append(p.window, it)
	if !f.entry.IsFile() {
		it.settled = true
	} else if err := p.regular(it, candidates, f.more); err != nil {
		return err
	}
	return p.bound()
}

// bound limits the window if an item at its head holds up the others.
func (p *planner) bound() error {
	if len(p.window) < maxWindow {
		return nil
	}
	if err := p.closeSamples(); err != nil {
		return err
	}
	if err := p.dispatch(); err != nil {
		return err
	}
	return p.send()
}

// before moves through the previous version up to the path, and returns its entry for the
// path if there is one. The entries that it passes are gone from the source, or could not
// be read and are kept.
func (p *planner) before(path string) (*tree.Entry, error) {
	for {
		e, err := p.old.peek()
		if err != nil || e == nil || e.Path > path {
			return nil, err
		}
		p.old.next()
		if e.Path == path {
			return e, nil
		}
		if err := p.pass(e); err != nil {
			return nil, err
		}
	}
}

// passRest moves to the end of the previous version.
func (p *planner) passRest() error {
	for {
		e, err := p.old.peek()
		if err != nil || e == nil {
			return err
		}
		p.old.next()
		if err := p.pass(e); err != nil {
			return err
		}
	}
}

// pass settles an entry of the previous version that the walk did not find.
func (p *planner) pass(e *tree.Entry) error {
	if !p.kept(e) {
		p.removed(e)
		p.gap = true
		return nil
	}
	it := &item{entry: keptEntry(e), then: e, gap: p.gap, reused: true, settled: true}
	p.gap = false
	p.window = append(p.window, it)
	return p.bound()
}

func (p *planner) removed(e *tree.Entry) {
	if e.IsFile() {
		p.Removed.Add(1)
	}
}

// keptEntry returns the previous version's entry for something that could not be read.
func keptEntry(then *tree.Entry) *tree.Entry {
	if then.Flaw != "" {
		return then // a flaw stays a flaw
	}
	e := *then
	e.Flaw = tree.FlawKept
	return &e
}

// recorded returns what unfinished uploads have recorded for the path.
func (p *planner) recorded(name string) ([]*tree.Entry, error) {
	var out []*tree.Entry
	for {
		e, err := p.records.peek()
		if err != nil {
			// It was readable a moment ago. What it names is uploaded again.
			p.Warn(fmt.Errorf("a record of an unfinished upload can no longer be used: %w", err))
			p.records.stop()
			p.records = newCursor(noEntries)
			return nil, nil
		}
		if e == nil || e.Path > name {
			return out, nil
		}
		p.records.next()
		if e.Path == name && e.IsFile() {
			out = append(out, e)
		}
	}
}

// regular settles a regular file, or keeps it until its sample is complete.
func (p *planner) regular(it *item, candidates []*tree.Entry, more bool) error {
	p.Files.Add(1)
	p.Bytes.Add(it.entry.Size)
	p.recall(it, candidates)
	small := tarpack.Size(it.entry)+tarpack.End <= p.PackSize
	key := sampleKey(it.entry.Path)
	sample := p.samples[key]
	switch {
	case small:
		sample = append(sample, it)
	case it.trusted:
		p.reuse(it)
	default:
		if err := p.large(it, candidates); err != nil {
			return err
		}
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

// reuse settles an item whose contents are known by its times.
func (p *planner) reuse(it *item) {
	it.settled = true
	if it.same {
		it.entry, it.reused = it.then, true
		return
	}
	it.reuse(it.first())
}
