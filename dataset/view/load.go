package view

import (
	"errors"
	"io"
	"sync"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/packs"
)

// A page is what is kept, and the least that is fetched: some chunks of a segment.
const (
	pageSize       = 4 * envelope.ChunkSize
	pagesOfSegment = envelope.SegmentSize / pageSize
)

// A loader fetches and opens the pages of one run.
type loader struct {
	c    *pages
	run  run
	page *sealedPage
	open *envelope.ReaderAt // of page

	src io.ReadCloser // sealed bytes of the pack from at on; nil before the first is needed
	at  int64
}

func newLoader(c *pages, r run) (*loader, error) {
	l := &loader{c: c, run: r, page: sealedPages.Get().(*sealedPage)}
	l.page.headAt = -1
	var err error
	if l.open, err = c.shared.set.PackOver(c.ctx, r.pack, r.size, l.page); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *loader) close() {
	if l.src != nil {
		l.src.Close()
	}
	if l.open != nil {
		l.open.Close()
	}
	sealedPages.Put(l.page)
}

// load fills a slot of the run. The slots come in order.
func (l *loader) load(s *slot) error {
	r := l.run
	off := s.key.n * pageSize
	data := s.data[:min(pageSize, r.size-off)]
	if err := l.fetch(off, int64(len(data))); err != nil {
		return l.c.shared.set.PackError(r.pack, packs.NoEOF(err))
	}
	if _, err := l.open.ReadAt(data, off); err != nil {
		return l.c.shared.set.PackError(r.pack, packs.NoEOF(err))
	}
	s.data = data
	l.c.heads.put(segmentOf(s.key), l.page.head)
	return nil
}

// fetch reads the sealed bytes of n bytes from off into page.
func (l *loader) fetch(off, n int64) error {
	p := l.page
	head, from, length := envelope.ChunkRange(l.run.size, off, n)
	if length == 0 || length > int64(cap(p.body)) {
		return envelope.ErrAuthentication // a page is in the pack, whose size is authentic
	}
	known := p.headAt == head
	if !known {
		p.head, known = l.c.heads.get(segmentKey{l.run.pack.ID, off / envelope.SegmentSize})
		p.headAt = head
	}
	if !known {
		if err := l.read(head, p.head[:]); err != nil {
			p.headAt = -1
			return err
		}
	}
	// The short chunk at the end of a segment comes with the page before its own, too.
	kept := 0
	if end := p.bodyAt + int64(len(p.body)); l.src != nil && l.at == end && from < end && from >= p.bodyAt {
		kept = copy(p.body, p.body[from-p.bodyAt:])
	}
	p.body, p.bodyAt = p.body[:length], from
	return l.read(from+int64(kept), p.body[kept:])
}

// read reads sealed bytes at an offset of the pack, which is not before those that it has
// read already. io.EOF says that the pack ends before.
func (l *loader) read(off int64, p []byte) error {
	if l.src == nil {
		last := l.run.slots[len(l.run.slots)-1].key.n * pageSize
		_, from, length := envelope.ChunkRange(l.run.size, last, min(pageSize, l.run.size-last))
		src, err := l.c.shared.set.PackBytes(l.c.ctx, l.run.pack, off, from+length-off)
		if err != nil {
			return err
		}
		l.src, l.at = src, off
	}
	if off < l.at {
		return errors.New("view: sealed bytes that were passed already")
	}
	if err := skip(l.src, off-l.at); err != nil {
		return err
	}
	l.at = off
	for len(p) > 0 {
		n, err := l.src.Read(p)
		if n < 0 || n > len(p) {
			return errors.New("the store returned an impossible count")
		}
		p, l.at = p[n:], l.at+int64(n)
		if err != nil && len(p) > 0 {
			return err
		}
	}
	return nil
}

// worthSeeking is from how many bytes on it is cheaper to ask the system not to read them.
const worthSeeking = 4 << 10

// skip passes over n bytes, without reading them where r lies in a file.
func skip(r io.Reader, n int64) error {
	if seeker, ok := r.(io.Seeker); ok && n >= worthSeeking {
		_, err := seeker.Seek(n, io.SeekCurrent)
		return err
	}
	_, err := io.CopyN(io.Discard, r, n)
	return err
}

// A sealedPage is the sealed bytes of a pack that are needed to open a page of it. It is the
// source of the envelope.ReaderAt that does so.
type sealedPage struct {
	head   [envelope.SegmentHead]byte
	headAt int64 // in the pack; -1 if it is not known
	body   []byte
	bodyAt int64
}

// With the last whole chunk of a segment comes the short one after it.
var sealedPages = sync.Pool{New: func() any {
	return &sealedPage{body: make([]byte, pageSize+envelope.ChunkSize+5*envelope.TagSize)}
}}

// ReadAt implements io.ReaderAt. All other bytes of the pack are missing.
func (s *sealedPage) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		at := off + int64(n)
		switch {
		case at >= s.headAt && at < s.headAt+envelope.SegmentHead:
			n += copy(p[n:], s.head[at-s.headAt:])
		case at >= s.bodyAt && at < s.bodyAt+int64(len(s.body)):
			n += copy(p[n:], s.body[at-s.bodyAt:])
		default:
			return n, io.EOF
		}
	}
	return n, nil
}

// A segmentKey names a segment of a pack.
type segmentKey struct {
	pack envelope.ObjectID
	n    int64
}

func segmentOf(p pageKey) segmentKey { return segmentKey{p.pack, p.n / pagesOfSegment} }

// maxHeads bounds the heads that are kept: those of 32 GiB, in some 5 MB of memory.
const maxHeads = 32 << 10

// heads keeps the heads of segments of which something was opened, so that the next read
// there fetches its own chunks only.
type heads struct {
	mu   sync.Mutex
	kept map[segmentKey][envelope.SegmentHead]byte
}

func (h *heads) get(key segmentKey) (head [envelope.SegmentHead]byte, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	head, ok = h.kept[key]
	return head, ok
}

func (h *heads) put(key segmentKey, head [envelope.SegmentHead]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept == nil {
		h.kept = map[segmentKey][envelope.SegmentHead]byte{}
	}
	if _, ok := h.kept[key]; !ok && len(h.kept) >= maxHeads {
		for old := range h.kept { // one or another
			delete(h.kept, old)
			break
		}
	}
	h.kept[key] = head
}
