package verify

import "sync/atomic"

// Stats counts what a verification has done.
type Stats struct {
	Packs, Bytes int64 // packs and plaintext bytes that were authenticated
	Entries      int64 // index entries that were authenticated, or files compared
	Failures     int64
}

// A Progress counts what a verification has done so far. The zero value is ready for
// use, and counts the last verification that it was passed to. It is safe for concurrent
// use.
type Progress struct{ now atomic.Pointer[counters] }

// Stats returns the counts so far.
func (p *Progress) Stats() Stats {
	if c := p.now.Load(); c != nil {
		return c.stats()
	}
	return Stats{}
}

// counters holds Stats while they are being counted.
type counters struct{ Packs, Bytes, Entries, Failures atomic.Int64 }

func (c *counters) stats() Stats {
	return Stats{Packs: c.Packs.Load(), Bytes: c.Bytes.Load(), Entries: c.Entries.Load(), Failures: c.Failures.Load()}
}
