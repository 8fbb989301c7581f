package restore

import "sync/atomic"

// Stats counts what a restore has done or, in a dry run, would do.
type Stats struct {
	Files, Bytes              int64 // written
	Unchanged, UnchangedBytes int64 // files that existed already
	Left                      int64 // files that were not replaced because of Overwrite
	Links, Folders            int64
	Deleted                   int64 // files, links and folders
	SetIDs                    int64 // entries whose set-ID bits were left out
	Failures                  int64
}

// A Progress counts what a restore has done so far. The zero value is ready for use,
// and counts the last restore that it was passed to. It is safe for concurrent use.
type Progress struct{ now atomic.Pointer[counters] }

// Stats returns the counts so far.
func (p *Progress) Stats() Stats {
	if c := p.now.Load(); c != nil {
		return c.stats()
	}
	return Stats{}
}

// counters holds Stats while they are being counted.
type counters struct {
	Files, Bytes              atomic.Int64
	Unchanged, UnchangedBytes atomic.Int64
	Left                      atomic.Int64
	Links, Folders            atomic.Int64
	Deleted                   atomic.Int64
	SetIDs                    atomic.Int64
	Failures                  atomic.Int64
}

func (c *counters) stats() Stats {
	return Stats{
		Files: c.Files.Load(), Bytes: c.Bytes.Load(),
		Unchanged: c.Unchanged.Load(), UnchangedBytes: c.UnchangedBytes.Load(),
		Left:  c.Left.Load(),
		Links: c.Links.Load(), Folders: c.Folders.Load(),
		Deleted: c.Deleted.Load(), SetIDs: c.SetIDs.Load(), Failures: c.Failures.Load(),
	}
}
