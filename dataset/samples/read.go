package samples

import (
	"context"
	"iter"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/given"
)

// Limits on what is fetched ahead of the caller at one time.
const (
	aheadBytes   = 32 << 20
	aheadSamples = 16 << 10
)

// Check returns an error that wraps ErrPosition if the position belongs to another version
// or to other files.
func (p *Plan) Check(pos Position) error {
	if p == nil || p.files == nil {
		return errNoPlan
	}
	if err := pos.Check(); err != nil {
		return err
	}
	switch digest := p.files.Version().Digest(); {
	case pos.Digest != digest:
		return badPosition("it is of %s with the digest %s, and this version has %s", pos.Version, pos.Digest, digest)
	case pos.Selection != p.selection || pos.Samples != int64(len(p.samples)):
		return badPosition("it is of %d samples, and these are %d: other files were selected", pos.Samples, len(p.samples))
	}
	return nil
}

// Read yields the samples that a shard still has to read, in order. Their contents are
// fetched ahead; open the files with [view.View.OpenEntry] of the view that the Plan was
// made from.
func (p *Plan) Read(ctx context.Context, pos Position) iter.Seq2[*Sample, error] {
	return func(yield func(*Sample, error) bool) {
		err := given.Check(ctx, p != nil && p.files != nil, errNoPlan)
		if err == nil {
			err = p.Check(pos)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		order := p.order(Epoch{pos.Shuffle, pos.Epoch})
		var positions []int64
		for _, r := range pos.rest() {
			for i := r[0]; i < r[1]; i++ {
				positions = append(positions, i)
			}
		}
		ahead, pending := 0, int64(0)
		for i, n := range positions {
			// Two batches are being fetched or in memory: the one that is read, and the next.
			for ahead <= i || ahead < len(positions) && ahead-i < aheadSamples && pending < aheadBytes {
				var size int64
				ahead, size = p.fetch(order, positions, ahead)
				pending += size
			}
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			s := p.Sample(int(order[n]))
			s.Position = n
			pending -= p.samples[order[n]].size
			if !yield(s, nil) {
				return
			}
		}
	}
}

// fetch begins to fetch the next batch of samples, and returns where the batch after it
// begins, and the batch's size in bytes.
func (p *Plan) fetch(order []uint32, positions []int64, from int) (next int, size int64) {
	var entries []*tree.Entry
	for ; from < len(positions) && size < aheadBytes && len(entries) < aheadSamples; from++ {
		s := &p.samples[order[positions[from]]]
		size += s.size
		for _, m := range p.members[s.first : s.first+s.count] {
			entries = append(entries, p.entry(m))
		}
	}
	p.files.Ahead(entries)
	return from, size
}
