package samples

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"

	"github.com/vaultpack/vaultpack/dataset/tree"
)

// A selection selects files, and remembers which.
type selection struct {
	selects func(*tree.Entry) bool
	paths   hash.Hash
	left    int // files that were not chosen
}

func newSelection(selects func(*tree.Entry) bool) *selection {
	return &selection{selects: selects, paths: sha256.New()}
}

// takes reports whether the file is chosen.
func (s *selection) takes(e *tree.Entry) bool {
	if s.selects == nil {
		return true
	}
	if !s.selects(e) {
		s.left++
		return false
	}
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(e.Path)))
	s.paths.Write(n[:])
	s.paths.Write([]byte(e.Path))
	return true
}

// digest returns "" if all files are chosen.
func (s *selection) digest() string {
	if s.left == 0 {
		return ""
	}
	return hex.EncodeToString(s.paths.Sum(nil))
}
