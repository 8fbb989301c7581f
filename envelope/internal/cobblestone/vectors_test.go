package cobblestone

import (
	"bytes"
	"compress/zlib"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
)

type vector struct {
	ID        int      `json:"tcId"`
	Comment   string   `json:"comment"`
	Key       hexBytes `json:"key"`
	Context   hexBytes `json:"ctx"`
	Message   hexBytes `json:"ct"`
	AEADKey   hexBytes `json:"aeadKey"`
	BaseNonce hexBytes `json:"baseNonce"`
	Length    *int64   `json:"msgLength"`
	SHA512    hexBytes `json:"msgSha512"`
	Result    string   `json:"result"`
	Flags     []string `json:"flags"`
}

func (v vector) has(flag string) bool { return slices.Contains(v.Flags, flag) }

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

func loadVectors(t *testing.T) []vector {
	t.Helper()
	b, err := os.ReadFile("../../../testdata/vectors/c2sp_chunked_encryption_aes_256_gcm_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		NumberOfTests int
		TestGroups    []struct{ Tests []vector }
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	var all []vector
	for _, g := range file.TestGroups {
		all = append(all, g.Tests...)
	}
	if len(all) != 35 || file.NumberOfTests != len(all) {
		t.Fatalf("found %d vectors, the file says %d, want 35", len(all), file.NumberOfTests)
	}
	for i := range all {
		z, err := zlib.NewReader(bytes.NewReader(all[i].Message))
		if err != nil {
			t.Fatal(err)
		}
		if all[i].Message, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// checkPrefix compares what a path released with what the vector allows.
func checkPrefix(t *testing.T, v vector, got []byte) {
	t.Helper()
	if v.Length == nil {
		if len(got) != 0 {
			t.Errorf("released %d bytes, want none", len(got))
		}
		return
	}
	if sum := sha512.Sum512(got); int64(len(got)) != *v.Length || !bytes.Equal(sum[:], v.SHA512) {
		t.Errorf("released %d bytes, want the %d of the vector", len(got), *v.Length)
	}
}

// streamOpen opens the message chunk after chunk, without knowing its size, and
// releases each as soon as it has authenticated.
func streamOpen(v vector) ([]byte, error) {
	r := bytes.NewReader(v.Message)
	header := make([]byte, HeaderSize)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, ErrOpen
	}
	m, err := NewOpener(v.Key, v.Context, header)
	if err != nil {
		return nil, err
	}
	var out []byte
	sealed := make([]byte, SealedChunk)
	for n := uint64(0); ; n++ {
		k, err := io.ReadFull(r, sealed)
		if k < TagSize {
			return out, ErrOpen
		}
		plain, openErr := m.OpenChunk(nil, sealed[:k], n)
		if openErr != nil {
			return out, openErr
		}
		out = append(out, plain...)
		if err != nil {
			return out, nil
		}
	}
}

func TestVectors(t *testing.T) {
	for _, v := range loadVectors(t) {
		valid := v.Result == "valid"
		t.Run(v.Comment, func(t *testing.T) {
			got, err := Open(nil, v.Key, v.Context, v.Message)
			if (err == nil) != valid {
				t.Fatalf("Open: %v, want valid=%v", err, valid)
			}
			if valid {
				checkPrefix(t, v, got)
			} else if got != nil {
				t.Error("Open returned plaintext with an error")
			}
			if err != nil && !v.has("InvalidKeySize") && !errors.Is(err, ErrOpen) {
				t.Errorf("Open: %v, want ErrOpen", err)
			}

			released, err := streamOpen(v)
			if (err == nil) != valid {
				t.Fatalf("streaming: %v, want valid=%v", err, valid)
			}
			checkPrefix(t, v, released)

			testRandomAccess(t, v, valid, got)
			if valid {
				testReseal(t, v, got)
			}
		})
	}
}

// testRandomAccess authenticates the size by the last chunk, then opens the
// chunks in a shuffled order.
func testRandomAccess(t *testing.T, v vector, valid bool, want []byte) {
	m, err := NewOpener(v.Key, v.Context, v.Message)
	if (err != nil) != v.has("HeaderFailure") {
		t.Fatalf("NewOpener: %v, flags %v", err, v.Flags)
	}
	if err != nil {
		return
	}
	if !bytes.Equal(m.base[:], v.BaseNonce) {
		t.Errorf("base nonce %x, want %x", m.base, v.BaseNonce)
	}
	size, err := PlaintextSize(int64(len(v.Message)))
	lastOK := false
	if err == nil {
		_, err := m.OpenChunk(nil, v.Message[HeaderSize+(ChunkCount(size)-1)*SealedChunk:], uint64(ChunkCount(size)-1))
		lastOK = err == nil
	}
	if want := valid || v.has("ValidFinalChunk"); lastOK != want {
		t.Errorf("last chunk authenticates: %v, want %v", lastOK, want)
	}
	if !valid {
		return
	}
	for _, n := range rand.New(rand.NewPCG(1, uint64(v.ID))).Perm(int(ChunkCount(size))) {
		from, end := HeaderSize+n*SealedChunk, min(HeaderSize+(n+1)*SealedChunk, len(v.Message))
		plain, err := m.OpenChunk(nil, v.Message[from:end], uint64(n))
		if err != nil {
			t.Fatalf("chunk %d: %v", n, err)
		}
		if at := n * ChunkSize; !bytes.Equal(plain, want[at:at+len(plain)]) {
			t.Fatalf("chunk %d differs", n)
		}
	}
}

// testReseal seals the plaintext under the vector's salt and wants its bytes.
func testReseal(t *testing.T, v vector, plain []byte) {
	m, header, err := newSealer(v.Key, v.Context, [SaltSize]byte(v.Message[:SaltSize]))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.sealBody(header[:], plain), v.Message) {
		t.Error("sealing again gives other bytes")
	}
	if got := SealedSize(int64(len(plain))); got != int64(len(v.Message)) {
		t.Errorf("SealedSize = %d, want %d", got, len(v.Message))
	}
}

func TestSizes(t *testing.T) {
	valid := map[int64]int64{}
	for n := int64(0); n < 3*ChunkSize; n++ {
		valid[SealedSize(n)] = n
	}
	for s := int64(-1); s <= SealedSize(3*ChunkSize-1); s++ {
		want, ok := valid[s]
		got, err := PlaintextSize(s)
		if (err == nil) != ok || got != want {
			t.Fatalf("PlaintextSize(%d) = %d, %v; want %d, valid %v", s, got, err, want, ok)
		}
	}
}

func TestOpenClearsOnFailure(t *testing.T) {
	key := make([]byte, KeySize)
	msg, err := Seal(nil, key, nil, bytes.Repeat([]byte("secret"), ChunkSize))
	if err != nil {
		t.Fatal(err)
	}
	msg[len(msg)-1] ^= 1
	buf := make([]byte, 0, len(msg))
	if _, err := Open(buf, key, nil, msg); err != ErrOpen {
		t.Fatalf("Open: %v", err)
	}
	if !bytes.Equal(buf[:cap(buf)], make([]byte, cap(buf))) {
		t.Error("plaintext of an unauthenticated message was left in the buffer")
	}
}

func TestSaltsDiffer(t *testing.T) {
	key := make([]byte, KeySize)
	seen := map[string]bool{}
	for range 1000 {
		msg, err := Seal(nil, key, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		seen[string(msg[:SaltSize])] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d salts in 1000 messages", len(seen))
	}
}
