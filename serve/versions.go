package serve

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/cache"
	"github.com/vaultpack/vaultpack/dataset/view"
)

// maxRoots is how many roots of old versions of a dataset are kept.
const maxRoots = 64

// served is a dataset that is served.
type served struct {
	dataset *dataset.Dataset
	alone   bool // newest is the only version that is served

	turn   chan struct{} // has an element while nobody uses what follows
	newest *dataset.Version
	others map[int64]*dataset.Version
}

func newServed(d *dataset.Dataset) *served {
	s := &served{dataset: d, turn: make(chan struct{}, 1), others: map[int64]*dataset.Version{}}
	s.turn <- struct{}{}
	return s
}

// version reads a root once, however many ask for it.
func (s *served) version(ctx context.Context, number int64) (*dataset.Version, error) {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.newest == nil {
		v, err := s.dataset.Latest(ctx)
		if err != nil {
			return nil, err
		}
		s.newest = v
	}
	switch {
	case number == 0 || number == s.newest.Number:
		return s.newest, nil
	case number < 0 || number > s.newest.Number || s.alone:
		return nil, fmt.Errorf("version %d of dataset %s %w", number, s.dataset.Name, ErrUnknown)
	case s.others[number] != nil:
		return s.others[number], nil
	}
	v, err := s.dataset.Version(ctx, number)
	if errors.Is(err, dataset.ErrUnknownVersion) {
		return nil, fmt.Errorf("version %d of dataset %s %w: %w", number, s.dataset.Name, ErrUnknown, err)
	}
	if err != nil {
		return nil, err
	}
	if len(s.others) >= maxRoots {
		clear(s.others)
	}
	s.others[number] = v
	return v, nil
}

// maxViews is how many versions are read at one time, at most. Memory is divided among them.
const maxViews = 4

// views keeps the versions that were read last, as file systems.
type views struct {
	ctx     context.Context
	options view.Options
	most    int

	mu     sync.Mutex
	open   []*opened // the one used last at the end
	freed  chan struct{}
	closed bool
}

type opened struct {
	version *dataset.Version
	view    *view.View
	refs    int
}

// newViews divides the memory among up to versions that are wanted.
func newViews(ctx context.Context, memory int64, disk *cache.Cache, wanted int) *views {
	n := max(1, min(wanted, maxViews))
	each := memory / int64(n)
	return &views{ctx: ctx, most: n, freed: make(chan struct{}), options: view.Options{Memory: each / 4 * 3, IndexMemory: each / 4, Cache: disk}}
}

// get returns a view of the version, for as long as release is not called.
func (p *views) get(ctx context.Context, v *dataset.Version) (_ *view.View, release func(), err error) {
	for {
		o, evicted, freed, err := p.take(v)
		if evicted != nil {
			evicted.view.Close() // of what Open has returned, it cannot fail
		}
		if err != nil {
			return nil, nil, err
		}
		if o != nil {
			return o.view, sync.OnceFunc(func() { p.release(o) }), nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

var errClosed = errors.New("the server is closing")

// take takes the view of a version that is open, or opens it in the place of one that
// nobody uses, which is returned for closing. If all are in use, it returns what tells
// when that has changed.
func (p *views) take(v *dataset.Version) (o, evicted *opened, freed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, nil, errClosed
	}
	for i, o := range p.open {
		if o.version == v {
			o.refs++
			p.open = append(append(p.open[:i:i], p.open[i+1:]...), o)
			return o, nil, nil, nil
		}
	}
	if len(p.open) >= p.most {
		i := p.unused()
		if i < 0 {
			return nil, nil, p.freed, nil
		}
		evicted = p.open[i]
		p.open = append(p.open[:i:i], p.open[i+1:]...)
	}
	f, err := view.Open(p.ctx, v, p.options)
	if err != nil {
		return nil, evicted, nil, err
	}
	o = &opened{version: v, view: f, refs: 1}
	p.open = append(p.open, o)
	return o, evicted, nil, nil
}

// unused is the view that was used longest ago of those that nobody uses, or -1.
func (p *views) unused() int {
	for i, o := range p.open {
		if o.refs == 0 {
			return i
		}
	}
	return -1
}

func (p *views) release(o *opened) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.refs--; o.refs == 0 {
		close(p.freed)
		p.freed = make(chan struct{})
	}
}

func (p *views) close() (err error) {
	p.mu.Lock()
	all := p.open
	p.open, p.closed = nil, true
	p.mu.Unlock()
	for _, o := range all {
		err = errors.Join(err, o.view.Close())
	}
	return err
}
