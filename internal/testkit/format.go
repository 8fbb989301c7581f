package testkit

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// This file implements format 1 a second time, by hand and from its specification
// alone, so that an error in package envelope cannot hide in its own vectors. It
// imports nothing from vaultpack.

const (
	segmentSize   = 1 << 20
	chunkSize     = 16 << 10
	tagSize       = 16
	saltSize      = 24
	headerSize    = saltSize + 32 // of a segment
	sealedChunk   = chunkSize + tagSize
	sealedSegment = headerSize + segmentSize + 65*tagSize
	maxKeyring    = 65536
)

// expand is HKDF-Expand of RFC 5869, section 2.3, with SHA-512.
func expand(key []byte, info string, n int) []byte {
	var out, t []byte
	for i := byte(1); len(out) < n; i++ {
		m := hmac.New(sha512.New, key)
		m.Write(t)
		m.Write([]byte(info))
		m.Write([]byte{i})
		t = m.Sum(nil)
		out = append(out, t...)
	}
	return out[:n]
}

// A scheme is the construction with replaceable parts, for vectors made by an
// implementation that got one of them wrong.
type scheme struct {
	objectLabel  string
	objectKey    func(dataKey, header []byte) []byte // nil: as specified
	segmentLabel string
	number       func(i uint64) []byte
	infoPrefix   string
	nonce        func(base []byte, n uint64) []byte
	aad          []byte
	noLastEmpty  bool // leave out the empty last chunk
}

func rightScheme() scheme {
	return scheme{
		objectLabel:  "vaultpack/v1 object key\x00",
		segmentLabel: "vaultpack/v1 segment\x00",
		number:       func(i uint64) []byte { return binary.BigEndian.AppendUint64(nil, i) },
		infoPrefix:   "c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00",
		nonce: func(base []byte, n uint64) []byte {
			nonce := bytes.Clone(base)
			for i := range 8 {
				nonce[11-i] ^= byte(n >> (8 * i))
			}
			return nonce
		},
	}
}

// message seals plain as one Cobblestone-256 message. If plain is nil, it is size
// bytes chosen so that the ciphertext is all zeros and compresses well: the key
// stream. It returns the plaintext with the message.
func (s scheme) message(key []byte, context string, salt, plain []byte, size int) (sealed, opened []byte) {
	okm := expand(key, s.infoPrefix+string(salt)+context, 32+12+32)
	block, err := aes.NewCipher(okm[:32])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	base, commitment := okm[32:44], okm[44:]
	sealed = append(bytes.Clone(salt), commitment...)
	if plain != nil {
		size = len(plain)
	}
	for n := uint64(0); ; n++ {
		at := int(n) * chunkSize
		k := min(chunkSize, size-at)
		if k == 0 && s.noLastEmpty {
			break
		}
		nonce := s.nonce(base, n)
		chunk := make([]byte, k)
		if plain != nil {
			copy(chunk, plain[at:])
		} else {
			chunk = aead.Seal(nil, nonce, chunk, nil)[:k]
		}
		sealed = aead.Seal(sealed, nonce, chunk, s.aad)
		opened = append(opened, chunk...)
		if k < chunkSize {
			break
		}
	}
	return sealed, opened
}

// A pair is one name and value of an encryption context.
type pair struct{ name, value string }

// canonical encodes pairs, sorted unless raw.
func canonical(pairs []pair, raw bool) string {
	pairs = slices.Clone(pairs)
	if !raw {
		slices.SortFunc(pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	}
	var b []byte
	for _, p := range pairs {
		for _, s := range []string{p.name, p.value} {
			b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
			b = append(b, s...)
		}
	}
	return string(b)
}

// A slot of a keyring.
type slot struct {
	kind, key string
	wrapped   []byte
}

func (s slot) json() string {
	return fmt.Sprintf(`{"kind":"%s","key":"%s","wrapped":"%s"}`, s.kind, s.key, base64.StdEncoding.EncodeToString(s.wrapped))
}

// A localKey wraps data keys in slots of kind local.
type localKey []byte

func (k localKey) fingerprint() string {
	return hex.EncodeToString(expand(k, "vaultpack/v1 local key ID", 16))
}

func (k localKey) text() string {
	return "vaultpack-local-key-1:" + base64.StdEncoding.EncodeToString(k)
}

func (k localKey) wrap(salt, dataKey []byte, context string) slot {
	sealed, _ := rightScheme().message(expand(k, "vaultpack/v1 local wrap", 32), context, salt, dataKey, 0)
	return slot{"local", k.fingerprint(), sealed}
}

// commitment returns the commitment to its data key that a keyring holds in the clear.
func commitment(keyID, dataKey []byte) []byte {
	return expand(dataKey, "vaultpack/v1 data key commitment\x00"+string(keyID), 32)
}

func keyringJSON(keyID, commitment []byte, slots ...slot) string {
	var s []string
	for _, x := range slots {
		s = append(s, x.json())
	}
	return fmt.Sprintf(`{"format":"vaultpack-keyring/1","key_id":"%x","commitment":"%s","slots":[%s]}`,
		keyID, base64.StdEncoding.EncodeToString(commitment), strings.Join(s, ","))
}

// A stream of bytes that depends only on a name: SHA-256 of the name, a zero
// byte and a counter.
type stream struct {
	name    string
	counter uint64
}

func (s *stream) bytes(n int) []byte {
	var out []byte
	for len(out) < n {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.name+"\x00"), s.counter))
		s.counter++
		out = append(out, sum[:]...)
	}
	return out[:n]
}
