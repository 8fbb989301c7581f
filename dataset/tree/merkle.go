package tree

import (
	"crypto/sha256"
	"errors"
	"hash"
	"slices"
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
	// each: powers of two, descending, if the first of them begins at 0.
	peaks   [][sha256.Size]byte
	sizes   []int64
	next    int64 // how many leaves there are up to the next one
	h       hash.Hash
	missing bool
}

// NewMerkle returns a Merkle for the entries of a tree from entry first on, counted from
// 0. Its Nodes can be appended to one of the entries before.
func NewMerkle(first int64) *Merkle { return &Merkle{next: first} }

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
	m.next++
	m.complete()
}

// complete joins the last subtrees as long as they are the halves of one of the tree.
func (m *Merkle) complete() {
	for n := len(m.sizes); n > 1 && m.sizes[n-1] == m.sizes[n-2] && m.next%(2*m.sizes[n-1]) == 0; n = len(m.sizes) {
		m.join()
	}
}

// Nodes returns the roots of the complete subtrees that the entries make up, from the
// left. ok is false if the sum of a file's contents is unknown.
func (m *Merkle) Nodes() (nodes [][sha256.Size]byte, ok bool) {
	return slices.Clone(m.peaks), !m.missing
}

// Append adds the next n entries, given as the Nodes of a Merkle that begins with the
// first of them. Other nodes than theirs make another hash; too few or too many are an
// error.
func (m *Merkle) Append(nodes [][sha256.Size]byte, n int64) error {
	if m.h == nil {
		m.h = sha256.New()
	}
	for end := m.next + n; m.next < end; nodes = nodes[1:] {
		if len(nodes) == 0 {
			return errNodes
		}
		size := int64(1)
		for 2*size <= end-m.next && m.next%(2*size) == 0 {
			size *= 2
		}
		m.push(nodes[0], size)
		m.next += size
		m.complete()
	}
	if len(nodes) > 0 {
		return errNodes
	}
	return nil
}

var errNodes = errors.New("the hashes of a run of entries are not as many as they have")

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
