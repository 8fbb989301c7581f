package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
)

const labelContentSum = "vaultpack/v1 content sum"

// A ContentSum is a keyed sum of some contents: equal contents have equal sums
// under one data key. Without the key, a sum reveals nothing about the
// contents, and nobody can make contents that have a given sum. The zero
// ContentSum means that there is no sum.
type ContentSum [16]byte

// contentBlock is how much contents one GMAC covers, in bytes.
const contentBlock = 16 << 10

// A ContentHash computes the [ContentSum] of what is written to it, under keys
// derived from a data key. It is a universal hash followed by a PRF: each block of
// 16 KiB is hashed by GMAC (NIST SP 800-38D), numbered by its nonce, and
// HMAC-SHA-256 is computed over the tags, which never leave this package, and the
// length. It costs a tenth of a SHA-256 of the contents. It is not safe for
// concurrent use.
type ContentHash struct {
	gmac cipher.AEAD
	mac  hash.Hash

	size uint64
	buf  []byte // the block begun, below contentBlock
	tag  [16]byte
}

// NewContentHash returns a ContentHash under the data key, which may be wiped
// afterwards.
func NewContentHash(key *DataKey) (*ContentHash, error) {
	var keys [64]byte
	defer clear(keys[:])
	if err := key.derive(keys[:], []byte(labelContentSum)); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		return nil, err
	}
	gmac, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &ContentHash{gmac: gmac, mac: hmac.New(sha256.New, keys[32:])}, nil
}

// Write adds to the contents. It fails only for a ContentHash that was not made
// by NewContentHash.
func (h *ContentHash) Write(p []byte) (int, error) {
	if h == nil || h.gmac == nil {
		return 0, errors.New("the envelope.ContentHash is nil or a zero value: it is got from NewContentHash")
	}
	n := len(p)
	if len(h.buf) > 0 {
		room := min(contentBlock-len(h.buf), len(p))
		h.buf, p = append(h.buf, p[:room]...), p[room:]
		if len(h.buf) < contentBlock {
			return n, nil
		}
		h.block(h.buf)
		h.buf = h.buf[:0]
	}
	for len(p) >= contentBlock {
		h.block(p[:contentBlock])
		p = p[contentBlock:]
	}
	h.buf = append(h.buf, p...)
	return n, nil
}

// block adds the next block. The nonces are the same for all contents under one
// key. That would let an observer of tags forge them; nobody sees one, and what
// is left of GMAC then is a universal hash, which is all that the HMAC needs.
func (h *ContentHash) block(p []byte) {
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[4:], h.size/contentBlock)
	h.mac.Write(h.gmac.Seal(h.tag[:0], nonce[:], nil, p))
	h.size += uint64(len(p))
}

// Sum returns the sum of what has been written since the hash was made or
// reset, and resets the hash.
func (h *ContentHash) Sum() (s ContentSum) {
	if len(h.buf) > 0 {
		h.block(h.buf)
	}
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], h.size)
	h.mac.Write(length[:])
	var out [sha256.Size]byte
	copy(s[:], h.mac.Sum(out[:0]))
	h.Reset()
	return s
}

// Reset discards what has been written.
func (h *ContentHash) Reset() {
	h.mac.Reset()
	h.size, h.buf = 0, h.buf[:0]
}
