package rekey

import "sync/atomic"

// Stats counts what [Reseal] has done.
type Stats struct {
	Packs, Bytes int64 // packs that were resealed, and their plaintext bytes
	Resumed      int64 // packs that an earlier run had resealed
}

// A Progress counts what [Reseal] has done so far. The zero value is ready for use, and
// counts the last run that it was passed to. It is safe for concurrent use.
type Progress struct{ now atomic.Pointer[counters] }

// Stats returns the counts so far.
func (p *Progress) Stats() Stats {
	if c := p.now.Load(); c != nil {
		return c.stats()
	}
	return Stats{}
}

// counters holds Stats while they are being counted.
type counters struct{ Packs, Bytes, Resumed atomic.Int64 }

func (c *counters) stats() Stats {
	return Stats{Packs: c.Packs.Load(), Bytes: c.Bytes.Load(), Resumed: c.Resumed.Load()}
}
