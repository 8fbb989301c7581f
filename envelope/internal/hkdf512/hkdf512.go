// Package hkdf512 is HKDF-Expand (RFC 5869, section 2.3) with HMAC-SHA-512, without
// allocations. Two keys are derived for each small sealed file; with crypto/hkdf, that
// took most of the time of sealing it, and left copies of what the keys are made of in
// memory that nothing clears. Here they are on the stack, and cleared.
package hkdf512

import (
	"crypto/fips140"
	"crypto/hkdf"
	"crypto/sha512"
	"fmt"
)

const (
	// maxInfo is the longest info that is hashed here. All of vaultpack's are shorter.
	maxInfo = 160

	ipad, opad = 0x36, 0x5c // RFC 2104, section 2
)

// Expand fills dst with what HKDF-Expand derives from key and info. The key has to be
// uniformly random: there is no Extract step. dst must not overlap key or info, and has at
// most 255 times 64 bytes; the error, of crypto/hkdf, is for what is longer.
//
// In FIPS 140-3 mode, crypto/hkdf of the validated module computes it. So it does if key
// is longer than a block of SHA-512, which HMAC would have to hash, or info than 160 bytes.
func Expand(dst, key, info []byte) error {
	if fips140.Enabled() || len(key) > sha512.BlockSize || len(info) > maxInfo || len(dst) > 255*sha512.Size {
		out, err := hkdf.Expand(sha512.New, key, string(info), len(dst))
		if err != nil {
			return fmt.Errorf("HKDF-Expand: %w", err)
		}
		copy(dst, out)
		clear(out)
		return nil
	}
	var (
		inner [sha512.BlockSize + sha512.Size + maxInfo + 1]byte // what the inner and the outer hash are of
		outer [sha512.BlockSize + sha512.Size]byte
		block [sha512.Size]byte // T(n) of the RFC
	)
	copy(inner[:], key)
	copy(outer[:], key)
	for i := range sha512.BlockSize {
		inner[i] ^= ipad
		outer[i] ^= opad
	}
	previous := block[:0]
	for n := byte(1); len(dst) > 0; n++ {
		text := append(inner[:sha512.BlockSize], previous...)
		text = append(append(text, info...), n)
		block = sha512.Sum512(text)
		copy(outer[sha512.BlockSize:], block[:])
		block = sha512.Sum512(outer[:])
		previous = block[:]
		dst = dst[copy(dst, block[:]):]
	}
	clear(inner[:])
	clear(outer[:])
	clear(block[:])
	return nil
}
