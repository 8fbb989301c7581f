// Package verify reads versions without writing them anywhere, and reports what is
// damaged or what differs from a folder:
//
//	res, err := verify.Run(ctx, version, verify.Options{})
package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/shards"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/packs"
	"github.com/vaultpack/vaultpack/internal/walk"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// Options configure [Run] and [Against]. The zero value reads the whole version.
type Options struct {
	// Sample is the share of the packs that Run reads, chosen at random: over 0, up
	// to 1. Both 0 and 1 mean all packs.
	Sample float64
	// Shard reads or compares only a shard of the version; nil means all of it. The
	// results of all shards together say what one of the whole says: see [Join].
	Shard *shards.Shard
	// Select reports whether Against compares an entry; nil selects all. For entries
	// that only the folder has, only Path is set. It is called from one goroutine.
	Select func(*tree.Entry) bool
	// FollowLinks makes Against compare the targets of links in the folder where the
	// version has no link, because it was made by following links.
	FollowLinks bool
	// Failed is called for everything that is damaged, and with a [*dataset.FileError]
	// for each file that differs. It may be called from several goroutines.
	Failed func(err error)
	// Progress, if not nil, counts what has been done so far.
	Progress *Progress
}

// A Result is the result of [Run] or [Against], or how far it came before an error.
type Result struct {
	Stats
	// DamagedPacks holds the packs that do not authenticate or are missing, in order of
	// their IDs. An upload can send their files again.
	DamagedPacks []envelope.ObjectID
	// Tree is what the hash of all files is computed from, for the entries of a shard: see
	// [tree.Merkle]. It is nil if the version has no such hash.
	Tree [][32]byte
}

// A job is one verification of one version.
type job struct {
	Options
	counters

	fails   jobs.Failures
	mu      sync.Mutex
	damaged map[envelope.ObjectID]bool
	tree    [][32]byte
	packs   map[envelope.ObjectID]packPlan
}

// newJob returns a job that counts in the Progress of the options.
func newJob(opts Options) *job {
	c := &job{Options: opts}
	if opts.Progress != nil {
		opts.Progress.now.Store(&c.counters)
	}
	return c
}

func (c *job) result() Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	damaged := slices.SortedFunc(maps.Keys(c.damaged), func(a, b envelope.ObjectID) int { return bytes.Compare(a[:], b[:]) })
	return Result{Stats: c.stats(), DamagedPacks: damaged, Tree: c.tree}
}

// verifyWindow is the number of files that are read at once.
const verifyWindow = 64 << 10

// A packPlan says what to do with a pack: for the first entries that lie in it, it is
// read completely and compared with its pin.
type packPlan int

const (
	packUnknown packPlan = iota
	packPassed           // not in the sample
	packChosen
	packRead
)

// chosen decides, once for each pack, whether it is in the sample.
func (c *job) chosen(id envelope.ObjectID) bool {
	if c.packs[id] == packUnknown {
		c.packs[id] = packPassed
		if c.Sample == 0 || c.Sample == 1 || rand.Float64() < c.Sample {
			c.packs[id] = packChosen
		}
	}
	return c.packs[id] != packPassed
}

// firstRead reports whether this is the first read of a pack.
func (c *job) firstRead(id envelope.ObjectID) bool {
	first := c.packs[id] == packChosen
	c.packs[id] = packRead
	return first
}

func (c *job) fail(err error) {
	c.Failures.Add(1)
	c.fails.Add(err)
	var pack *dataset.DamagedPackError
	if errors.As(err, &pack) {
		c.mu.Lock()
		if c.damaged == nil {
			c.damaged = map[envelope.ObjectID]bool{}
		}
		c.damaged[pack.Pack] = true
		c.mu.Unlock()
	}
	if c.Failed != nil {
		c.Failed(err)
	}
}

// Run verifies the version's index, each pack that it names from beginning to end,
// the sums of its files, and the roots of the previous versions that still exist. If
// anything is damaged, Run returns a [*dataset.PartialError]. The Result is valid in any
// case.
func Run(ctx context.Context, v *dataset.Version, opts Options) (Result, error) {
	if err := jobs.Check(ctx, v); err != nil {
		return Result{}, err
	}
	if !(opts.Sample >= 0 && opts.Sample <= 1) {
		return Result{}, fmt.Errorf("a sample of %v is not a share of the packs: it must be over 0 and up to 1, or 0 for all", opts.Sample)
	}
	if err := opts.Shard.Check(v); err != nil {
		return Result{}, err
	}
	c := newJob(opts)
	err := objects.Of(v).During(ctx, func(ctx context.Context) error { return c.run(ctx, v) })
	return c.result(), c.fails.End("verify", err)
}

func (c *job) run(ctx context.Context, v *dataset.Version) error {
	if c.Shard == nil || c.Shard.Number == 0 {
		if err := c.ancestors(ctx, v); err != nil {
			return err
		}
	}
	c.packs = map[envelope.ObjectID]packPlan{}
	var window []*tree.Entry
	weight := 0
	var order walk.Order
	if err := c.above(ctx, v, &order); err != nil {
		return err
	}
	files := &tree.Merkle{}
	if c.Shard != nil {
		files = tree.NewMerkle(c.Shard.First)
	}
	for i, end := c.Shard.Parts(v); i < end; i++ {
		entries, err := v.ReadPart(ctx, i)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			c.fail(err)
			continue
		}
		for _, e := range entries {
			if !c.Shard.Has(e.Path) {
				continue
			}
			c.Entries.Add(1)
			files.Add(e)
			if err := order.Check(e.Path); err != nil {
				c.fail(&dataset.FileError{Path: e.Name(), Err: err})
			}
			if e.IsFile() {
				window = append(window, e)
				weight += codec.Weight(e)
			}
		}
		if len(window) >= verifyWindow || weight >= codec.MaxWeight {
			if err := c.window(ctx, objects.Of(v), window); err != nil {
				return err
			}
			window, weight = nil, 0
		}
	}
	c.checkFiles(v, files)
	return c.window(ctx, objects.Of(v), window)
}

// above checks what of earlier shards the first entry of the shard lies in.
func (c *job) above(ctx context.Context, v *dataset.Version, order *walk.Order) error {
	all, err := c.Shard.Above(ctx, v)
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := order.Check(e.Path); err != nil {
			c.fail(&dataset.FileError{Path: e.Name(), Err: err})
		}
	}
	return nil
}

// checkFiles compares the entries with what was signed. Those of a shard can only be
// counted before there are all: Join compares them.
func (c *job) checkFiles(v *dataset.Version, files *tree.Merkle) {
	root := objects.RootOf(v)
	if c.Failures.Load() > 0 {
		return
	}
	if c.Shard != nil {
		if n := c.Entries.Load(); n != c.Shard.Entries {
			c.fail(fmt.Errorf("%v of version %d has %d entries, and %d were found: %w", c.Shard, v.Number, c.Shard.Entries, n, envelope.ErrAuthentication))
		}
		if nodes, ok := files.Nodes(); root.HasTree && ok {
			c.tree = nodes
		} else if root.HasTree {
			c.fail(unlike(v))
		}
		return
	}
	if root.HasTree {
		if sum, ok := files.Sum(); !ok || sum != root.Tree {
			c.fail(unlike(v))
		}
	}
}

// unlike returns the error for files that are not those of the signed root.
func unlike(v *dataset.Version) error {
	return fmt.Errorf("the files of version %d are not those that were signed: %w", v.Number, envelope.ErrAuthentication)
}

// window reads the packs that a window of entries lies in.
func (c *job) window(ctx context.Context, d *objects.Set, window []*tree.Entry) error {
	workers.Run(ctx, objects.PackReaders(), func(_ context.Context, g *workers.Group) error {
		c.give(ctx, d, window, func(job func()) {
			g.Go(func() error { job(); return nil })
		})
		return nil
	})
	return ctx.Err()
}

// give makes jobs from a window of entries. Some jobs run concurrently.
func (c *job) give(ctx context.Context, d *objects.Set, window []*tree.Entry, give func(job func())) {
	var apart []*tree.Entry // entries that are read one pack at a time
	for _, e := range window {
		all := true
		for _, x := range e.Extents {
			all = c.chosen(x.Pack.ID) && all
		}
		if e.Sum == nil || len(e.Extents) == 1 || !all {
			apart = append(apart, e)
			continue
		}
		// A hash takes the pieces in order, even if they are in several packs.
		first := make([]bool, len(e.Extents))
		for i, x := range e.Extents {
			first[i] = c.firstRead(x.Pack.ID)
		}
		give(func() { c.inOrder(ctx, d, e, first) })
	}
	for _, pieces := range packs.PackReads(apart) {
		if id := pieces[0].Extent.Pack.ID; c.chosen(id) {
			first := c.firstRead(id)
			give(func() { c.pieces(ctx, d, pieces, first) })
		}
	}
}

// inOrder reads a file that lies in several packs, to compare its sum.
func (c *job) inOrder(ctx context.Context, d *objects.Set, e *tree.Entry, first []bool) {
	sum := sha256.New()
	for i, x := range e.Extents {
		if !c.read(ctx, d, []packs.Piece{{Entry: e, Extent: x}}, first[i], func(*tree.Entry) hash.Hash { return sum }) {
			return
		}
	}
	if ctx.Err() == nil && !bytes.Equal(sum.Sum(nil), e.Sum) {
		c.fail(&dataset.FileError{Path: e.Name(), Err: packs.ErrSHA256})
	}
}

// pieces reads what lies in one pack, and compares the sums of the files that lie
// completely in it.
func (c *job) pieces(ctx context.Context, d *objects.Set, pieces []packs.Piece, first bool) {
	c.read(ctx, d, pieces, first, func(e *tree.Entry) hash.Hash {
		if e.Sum == nil || len(e.Extents) > 1 {
			return nil
		}
		return sha256.New()
	})
}

// read reads pieces of one pack, and reports whether they are sound. When it reads from a
// pack for the first time, it reads the whole pack, and compares its pin. sumOf returns
// the hash of an entry's bytes, or nil; the sum of an entry with a single extent is
// compared here.
func (c *job) read(ctx context.Context, d *objects.Set, pieces []packs.Piece, first bool, sumOf func(*tree.Entry) hash.Hash) bool {
	sound, last := true, ""
	fail := func(e *tree.Entry, err error) {
		sound = false
		// A pack that does not open is reported once, not for each of its files.
		if text := err.Error(); ctx.Err() == nil && text != last {
			last = text
			c.fail(&dataset.FileError{Path: e.Name(), Err: err})
		}
	}
	take := func(e *tree.Entry, x tree.Extent, src io.Reader) error {
		sum := sumOf(e)
		w := io.Writer(countWriter{&c.Bytes})
		if sum != nil {
			w = io.MultiWriter(w, sum)
		}
		_, err := io.Copy(w, src)
		if err == nil && sum != nil && len(e.Extents) == 1 && !bytes.Equal(sum.Sum(nil), e.Sum) {
			err = packs.ErrSHA256
		}
		return err
	}
	if !first {
		packs.ReadPack(ctx, d, pieces, take, fail)
		return sound
	}
	pack := pieces[0].Extent.Pack
	done, err := packs.ReadWholePack(ctx, d, pack, pieces, take, fail)
	if err != nil {
		fail(pieces[min(done, len(pieces)-1)].Entry, err)
	} else {
		c.Packs.Add(1)
	}
	return sound
}

// ancestors checks that the versions before v are the ones that v was made after.
func (c *job) ancestors(ctx context.Context, v *dataset.Version) error {
	d := jobs.DatasetOf(v)
	for v.Parent > 0 {
		// The signed root that names it vouches for it, whoever the signers were then.
		parent, err := d.Choose(ctx, dataset.Choice{Number: v.Parent, Digest: hex.EncodeToString(v.ParentPin.Digest[:])})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, dataset.ErrUnknownVersion) {
			return nil // removed, which an owner may do
		}
		if err == nil && parent.Pin != v.ParentPin {
			err = fmt.Errorf("%s is not the version that version %d was made after: %w",
				objects.Of(v).VersionName(v.Parent), v.Number, envelope.ErrAuthentication)
		}
		if err != nil {
			c.fail(err)
			return nil
		}
		v = parent
	}
	return nil
}

type countWriter struct{ n *atomic.Int64 }

func (w countWriter) Write(p []byte) (int, error) {
	w.n.Add(int64(len(p)))
	return len(p), nil
}
