package samples

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Limits from docs/SAMPLES.md: of a block, in samples and bytes, and of a window, in blocks.
const (
	blockSamples = 1024
	blockBytes   = 4 << 20
	windowBlocks = 16
)

// An Epoch specifies the order in which the samples are read.
type Epoch struct {
	// Shuffle is the seed of the order; nil is the storage order.
	Shuffle *uint64
	Number  uint64
}

// blocks returns where each block begins in storage order.
func (p *Plan) blocks() (starts []uint32) {
	size := int64(0)
	for i := range p.samples {
		s := &p.samples[i]
		if n := len(starts); n == 0 || s.pack != p.samples[i-1].pack || uint32(i)-starts[n-1] >= blockSamples || size+s.size > blockBytes {
			starts = append(starts, uint32(i))
			size = 0
		}
		size += s.size
	}
	return starts
}

// order returns the samples' numbers in the order of an epoch.
func (p *Plan) order(e Epoch) []uint32 {
	out := make([]uint32, 0, len(p.samples))
	if e.Shuffle == nil {
		for i := range p.samples {
			out = append(out, uint32(i))
		}
		return out
	}
	starts := p.blocks()
	type ranked struct {
		number uint32 // of a block, or of a sample
		rank   [sha256.Size]byte
	}
	byRank := func(a, b ranked) int {
		return cmp.Or(bytes.Compare(a.rank[:], b.rank[:]), cmp.Compare(a.number, b.number))
	}
	mixed := make([]ranked, len(starts))
	for i, start := range starts {
		mixed[i] = ranked{uint32(i), e.rank("block", p.keyOf(&p.samples[start]))}
	}
	slices.SortFunc(mixed, byRank)
	var window []ranked
	for blocks := range slices.Chunk(mixed, windowBlocks) {
		window = window[:0]
		for _, b := range blocks {
			end := uint32(len(p.samples))
			if int(b.number)+1 < len(starts) {
				end = starts[b.number+1]
			}
			for i := starts[b.number]; i < end; i++ {
				window = append(window, ranked{i, e.rank("sample", p.keyOf(&p.samples[i]))})
			}
		}
		slices.SortFunc(window, byRank)
		for _, s := range window {
			out = append(out, s.number)
		}
	}
	return out
}

// rank returns the value by which blocks and samples are sorted.
func (e Epoch) rank(what, key string) [sha256.Size]byte {
	b := make([]byte, 0, 256)
	b = append(append(b, "vaultpack/samples-1 "...), what...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, *e.Shuffle)
	b = binary.BigEndian.AppendUint64(b, e.Number)
	return sha256.Sum256(append(b, key...))
}
