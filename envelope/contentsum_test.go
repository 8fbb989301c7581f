package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// contentSum is section 1 of docs/FORMAT.md on content sums, word by word.
func contentSum(dataKey, contents []byte) (s ContentSum) {
	keys, _ := hkdf.Expand(sha512.New, dataKey, "vaultpack/v1 content sum", 64)
	block, _ := aes.NewCipher(keys[:32])
	gcm, _ := cipher.NewGCM(block)
	mac := hmac.New(sha256.New, keys[32:])
	for i, rest := uint64(0), contents; len(rest) > 0; i++ {
		n := min(len(rest), 16384)
		mac.Write(gcm.Seal(nil, binary.BigEndian.AppendUint64(make([]byte, 4), i), nil, rest[:n]))
		rest = rest[n:]
	}
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(contents))))
	return ContentSum(mac.Sum(nil)[:16])
}

func TestContentSum(t *testing.T) {
	key := testKey(t)
	secret := bytes.Clone(key.secret.bytes())
	h, err := NewContentHash(key)
	if err != nil {
		t.Fatal(err)
	}
	contents := make([]byte, 70_000)
	rand.NewChaCha8([32]byte{1}).Read(contents)
	seen := map[ContentSum]int{}
	for _, n := range []int{0, 1, 15, 16, 17, 16383, 16384, 16385, 32768, 49151, 70_000} {
		want := contentSum(secret, contents[:n])
		if prev, ok := seen[want]; ok {
			t.Errorf("%d and %d bytes have one sum", prev, n)
		}
		seen[want] = n
		for _, step := range []int{1, 7, 4096, 16384, 20_000, 70_000} {
			for rest := contents[:n]; len(rest) > 0; {
				k := min(step, len(rest))
				h.Write(rest[:k])
				rest = rest[k:]
			}
			if got := h.Sum(); got != want {
				t.Errorf("%d bytes by %d: %x, want %x", n, step, got, want)
			}
		}
	}
	// Swapped blocks, and a byte changed anywhere.
	whole := contentSum(secret, contents)
	swapped := bytes.Clone(contents)
	copy(swapped, contents[16384:32768])
	copy(swapped[16384:], contents[:16384])
	if contentSum(secret, swapped) == whole {
		t.Error("two blocks changed places, and the sum stayed")
	}
	for _, i := range []int{0, 16383, 16384, 69_999} {
		changed := bytes.Clone(contents)
		changed[i] ^= 1
		h.Write(changed)
		if h.Sum() == whole {
			t.Errorf("byte %d changed, and the sum stayed", i)
		}
	}
	other := testKey(t)
	if h, err = NewContentHash(other); err != nil {
		t.Fatal(err)
	}
	h.Write(contents)
	if h.Sum() == whole {
		t.Error("another data key gives the same sum")
	}
	other.Wipe()
	if _, err := NewContentHash(other); err == nil {
		t.Error("a wiped key made a hash")
	}
}
