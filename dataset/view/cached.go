package view

import (
	"github.com/vaultpack/vaultpack/dataset/cache"
	"github.com/vaultpack/vaultpack/envelope"
)

func cacheKey(k pageKey) (segment cache.Key, page int) {
	return cache.Key{Pack: k.pack, Segment: k.n / pagesOfSegment}, int(k.n % pagesOfSegment)
}

// isCached reports whether the cache says that it has a page.
func (c *pages) isCached(k pageKey) bool {
	if c.cache == nil {
		return false
	}
	segment, page := cacheKey(k)
	return c.cache.Has(segment)&(1<<page) != 0
}

// loadCached fills data with the page that begins at off, if the cache has it and it
// authenticates. What does not is forgotten.
func (l *loader) loadCached(k pageKey, data []byte, off int64) bool {
	if l.c.cache == nil {
		return false
	}
	head, from, length := envelope.ChunkRange(l.run.size, off, int64(len(data)))
	if l.cached == nil {
		var err error
		if l.cached, err = newOpener(l.c, l.run); err != nil {
			return false // whoever asks the vault is told
		}
	}
	p := &l.cached.page
	if length == 0 || length > int64(cap(p.body)) {
		return false
	}
	segment, page := cacheKey(k)
	// The head is checked when the first page of the segment is opened, and not again.
	began, read := p.headAt == head, [envelope.SegmentHead]byte{}
	p.body, p.bodyAt = p.body[:length], from
	if !l.c.cache.Get(segment, page, read[:], p.body) {
		return false
	}
	if !began {
		p.head, p.headAt = read, head
	}
	if _, err := l.cached.open.ReadAt(data, off); err != nil {
		l.c.cache.Drop(segment)
		l.cached.close() // it has failed for good
		l.cached = nil
		return false
	}
	l.c.heads.put(segmentOf(k), p.head)
	return true
}

// keep puts the page that was opened last into the cache.
func (l *loader) keep(k pageKey) {
	if l.c.cache != nil {
		segment, page := cacheKey(k)
		p := &l.vault.page
		l.c.cache.Put(segment, page, p.head[:], p.body)
	}
}
