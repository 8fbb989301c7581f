package uploader

import "sync/atomic"

// Stats counts what an upload has done.
type Stats struct {
	Files, Bytes               int64 // found
	UnchangedFiles, SameBytes  int64 // already in the last version
	ResumedFiles, ResumedBytes int64 // already sent by an unfinished upload
	SentFiles, SentBytes       int64 // read and sealed
	Packs, SealedBytes         int64 // written to the vault
	ResentFiles                int64 // unchanged, and sent again with their sample
	Added, Changed, Removed    int64 // files, compared with the last version
	Failures, Specials         int64
	KeptLinks, LinksOut        int64 // symbolic links sealed as links, and those of them that lead out of the source
}

// A Progress counts what an upload has done so far, or had done when it failed. The
// zero value is ready for use, and counts the last upload that it was passed to. It is
// safe for concurrent use.
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
	Files, Bytes               atomic.Int64
	UnchangedFiles, SameBytes  atomic.Int64
	ResumedFiles, ResumedBytes atomic.Int64
	SentFiles, SentBytes       atomic.Int64
	Packs, SealedBytes         atomic.Int64
	ResentFiles                atomic.Int64
	Added, Changed, Removed    atomic.Int64
	Failures, Specials         atomic.Int64
	KeptLinks, LinksOut        atomic.Int64
	reads, readBytes           atomic.Int64 // requests that a dry run would make to a bucket, and their bytes
}

func (c *counters) stats() Stats {
	return Stats{
		Files: c.Files.Load(), Bytes: c.Bytes.Load(),
		UnchangedFiles: c.UnchangedFiles.Load(), SameBytes: c.SameBytes.Load(),
		ResumedFiles: c.ResumedFiles.Load(), ResumedBytes: c.ResumedBytes.Load(),
		SentFiles: c.SentFiles.Load(), SentBytes: c.SentBytes.Load(),
		Packs: c.Packs.Load(), SealedBytes: c.SealedBytes.Load(),
		ResentFiles: c.ResentFiles.Load(),
		Added:       c.Added.Load(), Changed: c.Changed.Load(), Removed: c.Removed.Load(),
		Failures: c.Failures.Load(), Specials: c.Specials.Load(),
		KeptLinks: c.KeptLinks.Load(), LinksOut: c.LinksOut.Load(),
	}
}
