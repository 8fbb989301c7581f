package cache

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/vaultpack/vaultpack/envelope"
)

// A slot holds a sealed segment of a pack, or those of its pages that were read.
const (
	ways      = 8       // a segment has one of so many slots
	slotSize  = 1052672 // a sealed segment, and up to the next 4 KiB
	entrySize = 64
	setSize   = ways * entrySize
	maxSlots  = 1 << 40
)

// Sizes of a page: 4 chunks.
const (
	pageSize   = 4 * (envelope.ChunkSize + envelope.TagSize)
	pages      = envelope.SegmentSize / (4 * envelope.ChunkSize)
	maxSegment = envelope.SegmentHead + pages*pageSize + envelope.TagSize
)

// slotsOf is how many slots a cache of size bytes has.
func slotsOf(size int64) int64 {
	return min((size-headerSize)/(slotSize+entrySize)/ways*ways, maxSlots)
}

// sizeOf is the size of a file with slots.
func sizeOf(slots int64) int64 { return headerSize + slots*(entrySize+slotSize) }

// A Key names a segment of a pack.
type Key struct {
	Pack    envelope.ObjectID
	Segment int64
}

// set is the number of the set of slots that may hold the segment. The first bytes of a
// pack's ID are random; segments that follow each other are in different sets.
func (c *Cache) set(k Key) int64 {
	h := binary.BigEndian.Uint64(k.Pack[:8]) + uint64(k.Segment)*0x9e3779b97f4a7c15
	h, _ = bits.Mul64(h, uint64(c.slots/ways))
	return int64(h)
}

// An entry tells what a slot holds.
type entry struct {
	key   Key
	pages uint64 // a bit for each page that is there
}

func (e *entry) decode(b []byte) {
	e.key.Pack = envelope.ObjectID(b[:32])
	e.key.Segment = int64(binary.BigEndian.Uint64(b[32:])) - 1 // so that zeros are no segment
	e.pages = binary.BigEndian.Uint64(b[40:])
}

func (e *entry) encode() (b [entrySize]byte) {
	copy(b[:], e.key.Pack[:])
	binary.BigEndian.PutUint64(b[32:], uint64(e.key.Segment+1))
	binary.BigEndian.PutUint64(b[40:], e.pages)
	return b
}

// find returns the slot with the segment, or -1 and one that may be used for it: an empty
// one, or any. A loop over more than the cache holds finds some of it there so; if the
// oldest made room, it would find nothing.
func (c *Cache) find(k Key) (e entry, slot, other int64, err error) {
	first := c.set(k) * ways
	other = first + rand.Int64N(ways)
	var b [setSize]byte
	if _, err := c.file.ReadAt(b[:], headerSize+first*entrySize); err != nil {
		return e, -1, other, err
	}
	for i := range int64(ways) {
		e.decode(b[i*entrySize:])
		switch {
		case e.key == k:
			return e, first + i, 0, nil
		case e.key.Segment < 0:
			other = first + i
		}
	}
	return entry{key: k}, -1, other, nil
}

// offset is where a slot begins in the file.
func (c *Cache) offset(slot int64) int64 { return headerSize + c.slots*entrySize + slot*slotSize }

// put writes an entry.
func (c *Cache) put(slot int64, e entry) error {
	b := e.encode()
	_, err := c.file.WriteAt(b[:], headerSize+slot*entrySize)
	return err
}

// fits reports whether a body can be that of a page.
func (c *Cache) fits(k Key, page int, head, body []byte) bool {
	return c != nil && c.file != nil && k.Segment >= 0 && page >= 0 && page < pages && len(head) == envelope.SegmentHead &&
		len(body) > 0 && envelope.SegmentHead+page*pageSize+len(body) <= maxSegment
}

// Has tells which pages of a segment the cache has, as far as it knows: bit N is for page N.
func (c *Cache) Has(k Key) uint64 {
	if c == nil || c.file == nil || k.Segment < 0 {
		return 0
	}
	e, slot, _, err := c.find(k)
	if err != nil || slot < 0 {
		return 0
	}
	return e.pages
}

// Get reads a page: the head of its segment and its sealed chunks, which fill body. It
// reports whether it has read them. They may be anything: the caller must open them, and
// must Drop the segment if they do not authenticate.
func (c *Cache) Get(k Key, page int, head, body []byte) bool {
	if !c.fits(k, page, head, body) {
		return false
	}
	e, slot, _, err := c.find(k)
	if err == nil && slot >= 0 && e.pages&(1<<page) != 0 {
		if _, err = c.file.ReadAt(head, c.offset(slot)); err == nil {
			if _, err = c.file.ReadAt(body, c.offset(slot)+int64(envelope.SegmentHead+page*pageSize)); err == nil {
				return true
			}
		}
	}
	if err != nil {
		c.fail(err)
	}
	return false
}

// Put keeps a page, which the caller has opened and found authentic. It may make room for
// it, and it may keep nothing.
func (c *Cache) Put(k Key, page int, head, body []byte) {
	if !c.fits(k, page, head, body) || c.full.Load() {
		return
	}
	mu := &c.sets[c.set(k)%int64(len(c.sets))]
	mu.Lock()
	defer mu.Unlock()
	if err := c.keep(k, page, head, body); err != nil {
		c.fail(err)
	}
}

func (c *Cache) keep(k Key, page int, head, body []byte) error {
	e, slot, other, err := c.find(k)
	if err != nil {
		return err
	}
	if slot < 0 {
		slot = other
		if err := c.put(slot, e); err != nil { // before what was there is overwritten
			return err
		}
		if _, err := c.file.WriteAt(head, c.offset(slot)); err != nil {
			return err
		}
	}
	if e.pages&(1<<page) != 0 {
		return nil
	}
	if _, err := c.file.WriteAt(body, c.offset(slot)+int64(envelope.SegmentHead+page*pageSize)); err != nil {
		return err
	}
	e.pages |= 1 << page
	return c.put(slot, e)
}

// Drop forgets a segment.
func (c *Cache) Drop(k Key) {
	if c == nil || c.file == nil || k.Segment < 0 {
		return
	}
	mu := &c.sets[c.set(k)%int64(len(c.sets))]
	mu.Lock()
	defer mu.Unlock()
	_, slot, _, err := c.find(k)
	if err == nil && slot >= 0 {
		err = c.put(slot, entry{key: Key{Segment: -1}})
	}
	if err != nil {
		c.fail(err)
	}
}
