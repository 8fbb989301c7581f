// Package samples yields the samples of a version in the order in which training reads
// them: shuffled by a seed, divided among shards, and resumable in mid-epoch. It implements
// docs/SAMPLES.md, as the Python package does: every implementation gives the same samples
// to the same shard.
//
//	plan, err := samples.New(ctx, files, nil)
//	position, err := plan.Begin(samples.Epoch{Shuffle: &seed, Number: 2}, rank, world)
//	for sample, err := range plan.Read(ctx, position) {
package samples

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/given"
)

// A Plan holds the samples of a version, or of some of its files, in storage order. For
// each file it takes about 150 bytes of memory plus the file's path. It is safe for
// concurrent use.
type Plan struct {
	files   *view.View
	all     []file
	members []uint32 // numbers in files, those of each sample adjacent
	samples []sample
	packs   []*tree.Object
	pieces  map[uint32][]tree.Extent // of files in several pieces
	// selection is the SHA-256 of the paths, if some files were left out.
	selection string
	bytes     int64
}

// A file is a tree.Entry in less memory.
type file struct {
	path   string
	size   int64
	mod    int64 // in seconds
	offset int64
	sum    [16]byte
	pack   int32 // -1 if it has no extent
	mode   uint32
}

type sample struct {
	first, count uint32 // in members
	key          uint16 // how many bytes of the path of each file are the key
	pack         int32
	offset       int64
	size         int64
}

var errNoPlan = errors.New("samples: a Plan that New has not returned")

// New reads the index of the version that files shows, and returns its samples. It takes
// only files for which selects returns true; nil selects all.
func New(ctx context.Context, files *view.View, selects func(*tree.Entry) bool) (*Plan, error) {
	if err := given.Check(ctx, files.Version() != nil, errors.New("samples: a view that was not opened")); err != nil {
		return nil, err
	}
	p := &Plan{files: files, pieces: map[uint32][]tree.Extent{}}
	if err := p.load(ctx, selects); err != nil {
		return nil, err
	}
	p.collect()
	p.sort()
	return p, nil
}

// Len returns the number of samples.
func (p *Plan) Len() int {
	if p == nil {
		return 0
	}
	return len(p.samples)
}

// View returns the view that the Plan was made from.
func (p *Plan) View() *view.View {
	if p == nil {
		return nil
	}
	return p.files
}

// Bytes returns the total size of all files.
func (p *Plan) Bytes() int64 {
	if p == nil {
		return 0
	}
	return p.bytes
}

// maxFiles is the most files that a Plan can have: an int has 32 bits on some machines.
const maxFiles = math.MaxInt32

// load reads the files of the version, in the order of their paths.
func (p *Plan) load(ctx context.Context, selects func(*tree.Entry) bool) error {
	packs := map[tree.Object]int32{}
	chosen := newSelection(selects)
	for e, err := range p.files.WithContext(ctx).Entries("") {
		switch {
		case err != nil:
			return err
		case !e.IsFile() || !chosen.takes(e):
			continue
		case len(p.all) >= maxFiles:
			return fmt.Errorf("samples: more than %d files", maxFiles)
		}
		f := file{path: e.Path, size: e.Size, mod: e.ModTime.Unix(), mode: uint32(e.Mode), pack: -1}
		for i, x := range e.Extents {
			n, ok := packs[*x.Pack]
			if !ok {
				n = int32(len(p.packs))
				packs[*x.Pack] = n
				p.packs = append(p.packs, x.Pack)
			}
			if i == 0 {
				f.pack, f.offset, f.sum = n, x.Offset, x.Sum
			}
		}
		if len(e.Extents) > 1 {
			p.pieces[uint32(len(p.all))] = e.Extents
		}
		p.all = append(p.all, f)
		p.bytes += e.Size
	}
	p.selection = chosen.digest()
	return nil
}

// collect finds the samples.
func (p *Plan) collect() {
	p.members = make([]uint32, len(p.all))
	for i := range p.members {
		p.members[i] = uint32(i)
	}
	// The files of a group are adjacent, even if other paths sort between theirs.
	slices.SortFunc(p.members, func(a, b uint32) int {
		x, y := p.all[a].path, p.all[b].path
		i, j := base(x), base(y)
		return cmp.Or(cmp.Compare(x[:i], y[:j]), cmp.Compare(x[i:i+stem(x[i:])], y[j:j+stem(y[j:])]), cmp.Compare(x, y))
	})
	for start := 0; start < len(p.members); {
		end := start + 1
		group := p.group(p.members[start])
		for end < len(p.members) && p.group(p.members[end]) == group {
			end++
		}
		p.divide(start, end)
		start = end
	}
}

// group returns the common part of the paths of a group's files.
func (p *Plan) group(i uint32) string {
	path := p.all[i].path
	folder := base(path)
	return path[:folder+stem(path[folder:])]
}

// divide makes samples of the members from start to end, which are a group.
func (p *Plan) divide(start, end int) {
	members := p.members[start:end]
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = p.all[m].path[base(p.all[m].path):]
	}
	s := series(isSeries(names, stem(names[0])))
	key := func(m uint32) string { path := p.all[m].path; return path[:keyLen(path, s)] }
	slices.SortStableFunc(members, func(a, b uint32) int { return cmp.Compare(key(a), key(b)) })
	for i := 0; i < len(members); {
		made := sample{first: uint32(start + i), key: uint16(len(key(members[i]))), pack: -1}
		for k := key(members[i]); i < len(members) && key(members[i]) == k; i++ {
			f := &p.all[members[i]]
			made.count++
			made.size += f.size
			if made.pack < 0 && f.pack >= 0 {
				made.pack, made.offset = f.pack, f.offset
			}
		}
		p.samples = append(p.samples, made)
	}
}

// keyOf returns the key of a sample.
func (p *Plan) keyOf(s *sample) string { return p.all[p.members[s.first]].path[:s.key] }

// sort puts the samples in storage order.
func (p *Plan) sort() {
	inPack := func(a, b sample) int {
		return cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.offset, b.offset), cmp.Compare(p.keyOf(&a), p.keyOf(&b)))
	}
	slices.SortFunc(p.samples, inPack)
	firsts := []int{} // of each pack
	for i := range p.samples {
		if i == 0 || p.samples[i].pack != p.samples[i-1].pack {
			firsts = append(firsts, i)
		}
	}
	slices.SortFunc(firsts, func(a, b int) int { return cmp.Compare(p.keyOf(&p.samples[a]), p.keyOf(&p.samples[b])) })
	rank := make(map[int32]int, len(firsts))
	for i, first := range firsts {
		rank[p.samples[first].pack] = i
	}
	slices.SortFunc(p.samples, func(a, b sample) int {
		if a.pack != b.pack {
			return cmp.Compare(rank[a.pack], rank[b.pack])
		}
		return inPack(a, b)
	})
}

// A Sample is a set of files that belong together.
type Sample struct {
	// Key is the common part of the files' paths.
	Key string
	// Position is its place in the order of the epoch.
	Position int64
	// Files are sorted by path.
	Files []*tree.Entry
}

// Field returns the field of a file of the sample, such as png or cls.txt. It is empty
// for a file without one.
func (s *Sample) Field(e *tree.Entry) string {
	if s == nil || e == nil {
		return ""
	}
	return field(e.Path, len(s.Key))
}

// Sample returns a sample by its number in storage order, which is from 0 to Len.
func (p *Plan) Sample(number int) *Sample {
	if number < 0 || number >= p.Len() {
		return nil
	}
	s := &p.samples[number]
	out := &Sample{Key: p.keyOf(s), Position: int64(number)}
	for _, m := range p.members[s.first : s.first+s.count] {
		out.Files = append(out.Files, p.entry(m))
	}
	return out
}

// entry returns the entry of a file.
func (p *Plan) entry(m uint32) *tree.Entry {
	f := &p.all[m]
	e := &tree.Entry{Path: f.path, Size: f.size, Mode: fs.FileMode(f.mode), ModTime: time.Unix(f.mod, 0), Extents: p.pieces[m]}
	if e.Extents == nil && f.pack >= 0 {
		e.Extents = []tree.Extent{{Pack: p.packs[f.pack], Offset: f.offset, Length: f.size, Sum: f.sum}}
	}
	return e
}
