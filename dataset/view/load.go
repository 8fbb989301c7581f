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
	c      *pages
	run    run
	vault  *opener
	cached *opener // nil until it is needed

	src     io.ReadCloser // sealed bytes of the pack from at to end; nil if none are asked for
	at, end int64
}

func newLoader(c *pages, r run) (l *loader, err error) {
	l = &loader{c: c, run: r}
	if l.vault, err = newOpener(c, r); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *loader) close() {
	l.leave()
	l.vault.close()
	if l.cached != nil {
		l.cached.close()
	}
}

// leave ends the request that is under way.
func (l *loader) leave() {
	if l.src != nil {
		l.src.Close()
		l.src = nil
	}
}

// load fills slot i of the run. The slots come in order. It reports whether their contents
// have come from the vault.
func (l *loader) load(i int) (fetched bool, err error) {
	r, s := l.run, l.run.slots[i]
	off := s.key.n * pageSize
	data := s.data[:min(pageSize, r.size-off)]
	if l.loadCached(s.key, data, off) {
		s.data = data
		return false, nil
	}
	if err := l.fetch(i, off, int64(len(data))); err != nil {
		return false, l.c.shared.set.PackError(r.pack, packs.NoEOF(err))
	}
	if _, err := l.vault.open.ReadAt(data, off); err != nil {
		return false, l.c.shared.set.PackError(r.pack, packs.NoEOF(err))
	}
	s.data = data
	l.c.heads.put(segmentOf(s.key), l.vault.page.head)
	return true, nil
}

// fetch reads the sealed bytes of n bytes from off, which are of slot i, from the vault.
func (l *loader) fetch(i int, off, n int64) error {
	p := &l.vault.page
	head, from, length := envelope.ChunkRange(l.run.size, off, n)
	if length == 0 || length > int64(cap(p.body)) {
		return envelope.ErrAuthentication // a page is in the pack, whose size is authentic
	}
	known := p.headAt == head
	if !known {
		p.head, known = l.c.heads.get(segmentOf(l.run.slots[i].key))
		p.headAt = head
	}
	if l.src != nil && from+length > l.end {
		l.leave()
	}
	if l.src == nil {
		start := from
		if !known {
			start = head
		}
		if err := l.request(i, start); err != nil {
			return err
		}
	}
	if !known {
		if err := l.read(head, p.head[:]); err != nil {
			return err
		}
	}
	// The short chunk at the end of a segment comes with the page before its own, too.
	kept := 0
	if end := p.bodyAt + int64(len(p.body)); l.at == end && from < end && from >= p.bodyAt {
		kept = copy(p.body, p.body[from-p.bodyAt:])
	}
	p.body, p.bodyAt = p.body[:length], from
	return l.read(from+int64(kept), p.body[kept:])
}

// request asks the vault for the sealed bytes from start on, up to the end of the run or to
// what the cache has.
func (l *loader) request(i int, start int64) (err error) {
	last := i
	for last+1 < len(l.run.slots) && !l.c.isCached(l.run.slots[last+1].key) {
		last++
	}
	off := l.run.slots[last].key.n * pageSize
	_, from, length := envelope.ChunkRange(l.run.size, off, min(pageSize, l.run.size-off))
	l.at, l.end = start, from+length
	l.src, err = l.c.shared.set.PackBytes(l.c.ctx, l.run.pack, l.at, l.end-l.at)
	return err
}

// read reads sealed bytes at an offset of the pack, which is not before those that it has
// read already. io.EOF says that the pack ends before.
func (l *loader) read(off int64, p []byte) error {
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

// An opener opens pages of a pack whose sealed bytes are put into page.
type opener struct {
	page sealedPage
	open *envelope.ReaderAt // of page
}

func newOpener(c *pages, r run) (*opener, error) {
	o := &opener{page: sealedPage{headAt: -1, body: *sealedBytes.Get().(*[]byte)}}
	var err error
	if o.open, err = c.shared.set.PackOver(c.ctx, r.pack, r.size, &o.page); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

func (o *opener) close() {
	if o.open != nil {
		o.open.Close()
	}
	body := o.page.body
	sealedBytes.Put(&body)
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
var sealedBytes = sync.Pool{New: func() any {
	b := make([]byte, pageSize+envelope.ChunkSize+5*envelope.TagSize)
	return &b
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
