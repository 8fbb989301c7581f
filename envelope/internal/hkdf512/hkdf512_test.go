package hkdf512

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/hex"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
)

// FuzzExpand compares Expand with crypto/hkdf.
func FuzzExpand(f *testing.F) {
	key := bytes.Repeat([]byte{7}, 200)
	for _, size := range []int{0, 1, 31, 32, 64, 65, 76, 128, 129, 255 * 64} {
		for _, info := range []int{0, 1, 84, 101, maxInfo, maxInfo + 1} {
			for _, k := range []int{0, 1, 32, 127, 128, 129, 200} {
				f.Add(key[:k], key[:min(info, len(key))], size)
			}
		}
	}
	f.Fuzz(func(t *testing.T, key, info []byte, size int) {
		size = int(uint(size) % (256 * 64))
		want, wantErr := hkdf.Expand(sha512.New, key, string(info), size)
		got := bytes.Repeat([]byte{0xaa}, size+1)
		err := Expand(got[:size:size], key, info)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v, crypto/hkdf says %v", err, wantErr)
		}
		if err == nil && !bytes.Equal(got[:size], want) || got[size] != 0xaa {
			t.Errorf("%d bytes from a key of %d and an info of %d are not those of crypto/hkdf", size, len(key), len(info))
		}
	})
}

// One value that neither package can change, from Python's hmac.
func TestExpandKnown(t *testing.T) {
	got := make([]byte, 76)
	if err := Expand(got, bytes.Repeat([]byte{0x0b}, 32), []byte("vaultpack/v1 object key\x00")); err != nil {
		t.Fatal(err)
	}
	const want = "d705db1b5698429b99e811a00a845f70381aaa4852af2874920115973230d9d7ea9e73e56ddeb1e0cc2b94b27723916430268c2815bf6d993d12f13e6659253490ce5450f040b17122a937b4"
	if hex.EncodeToString(got) != want {
		t.Errorf("%x, want %s", got, want)
	}
}

func TestExpandAllocatesNothing(t *testing.T) {
	race.Skip(t, "the race detector allocates, too")
	dst, key, info := make([]byte, 76), make([]byte, 32), make([]byte, 101)
	if n := testing.AllocsPerRun(100, func() { Expand(dst, key, info) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
