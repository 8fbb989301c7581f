// Package cobblestone implements Cobblestone-256, the instantiation of
// c2sp.org/chunked-encryption with SHA-512 and AES-256-GCM: a message is cut
// into 16 KiB chunks, the last one always shorter and maybe empty, and each
// chunk is sealed with a key and nonce derived for that message alone. The
// clauses of the specification are named beside the code that meets them.
//
// The package works on messages whose ciphertext is in memory. Nothing here
// is vaultpack's own: contexts, segments and headers live in package envelope.
package cobblestone

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vaultpack/vaultpack/envelope/internal/hkdf512"
)

// Sizes in bytes.
const (
	KeySize        = 32 // the input key, and the AES-256 key derived from it
	SaltSize       = 24
	CommitmentSize = 32
	HeaderSize     = SaltSize + CommitmentSize // what precedes the first chunk
	ChunkSize      = 16 << 10                  // plaintext of every chunk but the last
	TagSize        = 16
	SealedChunk    = ChunkSize + TagSize

	nonceSize = 12
	// maxChunks is the limit of the specification's "Message chunking".
	maxChunks = 1 << 38
)

// ErrOpen is the one error of every message that does not authenticate: a wrong
// key or context, a changed, cut or lengthened ciphertext. It has no detail on
// purpose.
var ErrOpen = errors.New("cobblestone: message authentication failed")

// ErrFIPS explains a refusal that would otherwise come as an opaque error from
// deep inside: the standard library's switch lets AES-GCM choose nonces only by
// itself, while this construction derives them, as SP 800-38D section 8.2.1
// allows.
var ErrFIPS = errors.New("GODEBUG=fips140=only refuses AES-GCM with derived nonces, on which this format is built; " +
	"GODEBUG=fips140=on uses the validated module without this refusal")

// infoPrefix is the start of HKDF-Expand's info, up to the salt ("Key
// derivation").
const infoPrefix = "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"

// A Message seals or opens the chunks of one message. It is not safe for
// concurrent use.
type Message struct {
	aead  cipher.AEAD
	base  [nonceSize]byte
	nonce [nonceSize]byte // scratch, here so that no chunk allocates
}

// derive computes the message's key, base nonce and commitment.
func derive(inputKey, salt, context []byte) (m *Message, commitment [CommitmentSize]byte, err error) {
	if len(inputKey) != KeySize {
		return nil, commitment, fmt.Errorf("cobblestone: input key of %d bytes, want %d", len(inputKey), KeySize)
	}
	if fips140.Enforced() {
		return nil, commitment, ErrFIPS
	}
	var room [len(infoPrefix) + SaltSize + 64]byte // on the stack, for the contexts that there are
	info := append(room[:0], infoPrefix...)
	info = append(info, salt...)
	info = append(info, context...)
	var okm [KeySize + nonceSize + CommitmentSize]byte
	defer clear(okm[:KeySize])
	if err := hkdf512.Expand(okm[:], inputKey, info); err != nil {
		return nil, commitment, fmt.Errorf("cobblestone: deriving the message key: %w", err)
	}
	block, err := aes.NewCipher(okm[:KeySize])
	if err != nil {
		return nil, commitment, fmt.Errorf("cobblestone: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, commitment, fmt.Errorf("cobblestone: %w", err)
	}
	m = &Message{aead: aead, base: [nonceSize]byte(okm[KeySize:])}
	return m, [CommitmentSize]byte(okm[KeySize+nonceSize:]), nil
}

// NewSealer starts a message under a fresh random salt and returns it with its
// header, the salt and the commitment, which precedes the chunks. Because the
// salt is drawn here, a Message cannot be made to seal twice under one nonce
// but by sealing one chunk number twice.
func NewSealer(inputKey, context []byte) (*Message, [HeaderSize]byte, error) {
	var salt [SaltSize]byte
	rand.Read(salt[:])
	return newSealer(inputKey, context, salt)
}

func newSealer(inputKey, context []byte, salt [SaltSize]byte) (*Message, [HeaderSize]byte, error) {
	var header [HeaderSize]byte
	m, commitment, err := derive(inputKey, salt[:], context)
	if err != nil {
		return nil, header, err
	}
	copy(header[:], salt[:])
	copy(header[SaltSize:], commitment[:])
	return m, header, nil
}

// NewOpener reads a message's header and checks its commitment, before any
// chunk is looked at. It returns ErrOpen if the header is short or belongs to
// another key or context.
func NewOpener(inputKey, context, header []byte) (*Message, error) {
	if len(header) < HeaderSize {
		return nil, ErrOpen
	}
	m, commitment, err := derive(inputKey, header[:SaltSize], context)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(commitment[:], header[SaltSize:HeaderSize]) != 1 {
		return nil, ErrOpen
	}
	return m, nil
}

// nonceFor sets the scratch nonce to the base nonce XOR the chunk number, as a
// big-endian integer of the nonce's width ("AEAD usage").
func (m *Message) nonceFor(n uint64) []byte {
	if n >= maxChunks {
		panic("cobblestone: chunk number out of range")
	}
	m.nonce = m.base
	tail := m.nonce[nonceSize-8:]
	binary.BigEndian.PutUint64(tail, binary.BigEndian.Uint64(tail)^n)
	return m.nonce[:]
}

// SealChunk appends the sealed chunk number n to dst. The caller seals each
// number once, ChunkSize bytes in every chunk but the last and fewer in that.
func (m *Message) SealChunk(dst, plaintext []byte, n uint64) []byte {
	return m.aead.Seal(dst, m.nonceFor(n), plaintext, nil)
}

// OpenChunk appends the plaintext of the sealed chunk number n to dst, or
// returns ErrOpen. Whether the chunk may be the last is for the caller to check
// by its size: see [ChunkCount].
func (m *Message) OpenChunk(dst, sealed []byte, n uint64) ([]byte, error) {
	out, err := m.aead.Open(dst, m.nonceFor(n), sealed, nil)
	if err != nil {
		return nil, ErrOpen
	}
	return out, nil
}

// Seal appends to dst the whole message that holds plaintext. dst's spare
// capacity must not overlap plaintext.
func Seal(dst, inputKey, context, plaintext []byte) ([]byte, error) {
	m, header, err := NewSealer(inputKey, context)
	if err != nil {
		return nil, err
	}
	return m.sealBody(append(dst, header[:]...), plaintext), nil
}

// sealBody appends all chunks of plaintext, the last of them short.
func (m *Message) sealBody(dst, plaintext []byte) []byte {
	n := uint64(0)
	for ; len(plaintext) >= ChunkSize; n++ {
		dst = m.SealChunk(dst, plaintext[:ChunkSize], n)
		plaintext = plaintext[ChunkSize:]
	}
	return m.SealChunk(dst, plaintext, n)
}

// Open appends to dst the plaintext of a whole message. On any error it returns
// no plaintext and clears what it had written to dst's spare capacity. That
// capacity must not overlap message.
func Open(dst, inputKey, context, message []byte) ([]byte, error) {
	size, err := PlaintextSize(int64(len(message)))
	if err != nil {
		return nil, err
	}
	m, err := NewOpener(inputKey, context, message)
	if err != nil {
		return nil, err
	}
	start := len(dst)
	if free := cap(dst) - start; int64(free) < size {
		dst = append(make([]byte, 0, int64(start)+size), dst...)
	}
	out, body := dst, message[HeaderSize:]
	for n := uint64(0); ; n++ {
		sealed := body[:min(SealedChunk, len(body))]
		body = body[len(sealed):]
		if out, err = m.OpenChunk(out, sealed, n); err != nil {
			clear(dst[start : int64(start)+size])
			return nil, err
		}
		// PlaintextSize has made sure that the last chunk is a short one.
		if len(sealed) < SealedChunk {
			return out, nil
		}
	}
}

// ChunkCount is the number of chunks of a message of size plaintext bytes: the
// full ones and the short last one, number ChunkCount-1.
func ChunkCount(size int64) int64 { return size/ChunkSize + 1 }

// SealedSize is the size of the message that holds size bytes of plaintext.
func SealedSize(size int64) int64 {
	return HeaderSize + size + ChunkCount(size)*TagSize
}

// PlaintextSize is the number of plaintext bytes in a message of the given
// size, or ErrOpen if no message has that size.
func PlaintextSize(sealed int64) (int64, error) {
	body := sealed - HeaderSize
	last := body % SealedChunk
	if body < TagSize || last < TagSize {
		return 0, ErrOpen
	}
	return body/SealedChunk*ChunkSize + last - TagSize, nil
}
