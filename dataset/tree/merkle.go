package tree

import (
	"crypto/sha256"
	"hash"
)

// A Merkle computes a hash of the plaintext of a tree of files. It does not depend on
// the keys that the tree is sealed under. It is the Merkle Tree Hash of RFC 9162,
// section 2.1.1, with SHA-256, over a leaf for each entry in the order of the paths:
//
//	"f" || SHA-256 of the contents     || path    for a file
//	"l" || SHA-256 of the link's target || path    for a link
//	"d" || path                                   for a folder, with its slash
//
// Modes and times are not included. The zero value is ready for use.
type Merkle struct {
	// peaks are the roots of complete subtrees, from the left, and sizes the leaves of
	// each: powers of two, descending.
	peaks   [][sha256.Size]byte
	sizes   []int64
	h       hash.Hash
	missing bool
}

// Add adds the next entry. Paths must be in ascending order.
func (m *Merkle) Add(e *Entry) {
	if m.missing || e.IsFile() && len(e.Sum) != sha256.Size {
		m.missing = true // nothing can be computed from here on
		return
	}
	if m.h == nil {
		m.h = sha256.New()
	}
	m.h.Reset()
	m.h.Write([]byte{0})
	switch {
	case e.IsDir():
		m.h.Write([]byte{'d'})
	case e.IsLink():
		target := sha256.Sum256([]byte(e.Link))
		m.h.Write([]byte{'l'})
		m.h.Write(target[:])
	default:
		m.h.Write([]byte{'f'})
		m.h.Write(e.Sum)
	}
	m.h.Write([]byte(e.Path))
	m.push([sha256.Size]byte(m.h.Sum(nil)), 1)
	for n := len(m.sizes); n > 1 && m.sizes[n-1] == m.sizes[n-2]; n = len(m.sizes) {
		m.join()
	}
}

func (m *Merkle) push(sum [sha256.Size]byte, size int64) {
	m.peaks, m.sizes = append(m.peaks, sum), append(m.sizes, size)
}

// join makes one subtree of the last two.
func (m *Merkle) join() {
	n := len(m.peaks)
	m.h.Reset()
	m.h.Write([]byte{1})
	m.h.Write(m.peaks[n-2][:])
	m.h.Write(m.peaks[n-1][:])
	size := m.sizes[n-2] + m.sizes[n-1]
	m.peaks, m.sizes = m.peaks[:n-2], m.sizes[:n-2]
	m.push([sha256.Size]byte(m.h.Sum(nil)), size)
}

// Sum returns the hash of everything that was added. ok is false if the sum of a file's
// contents is unknown. Add must not be called after Sum.
func (m *Merkle) Sum() (sum [sha256.Size]byte, ok bool) {
	if m.missing {
		return sum, false
	}
	if len(m.peaks) == 0 {
		return sha256.Sum256(nil), true
	}
	for len(m.peaks) > 1 {
		m.join()
	}
	return m.peaks[0], true
}
