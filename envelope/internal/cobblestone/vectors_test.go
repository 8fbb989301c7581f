package cobblestone

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone/vectortest"
	"github.com/vaultpack/vaultpack/internal/race"
)

// streamOpen opens the message chunk after chunk, without knowing its size, and
// releases each as soon as it has authenticated.
func streamOpen(v vectortest.Vector) ([]byte, error) {
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

const vectorFile = "../../../testdata/vectors/c2sp_chunked_encryption_aes_256_gcm_test.json"

func TestVectors(t *testing.T) {
	race.Skip(t, "nothing runs at the same time")
	ran := map[string]int{}
	for _, v := range vectortest.Load(t, vectorFile) {
		valid := v.Result == "valid"
		ran[v.Result]++
		t.Run(v.Comment, func(t *testing.T) {
			got, err := Open(nil, v.Key, v.Context, v.Message)
			if (err == nil) != valid {
				t.Fatalf("Open: %v, want valid=%v", err, valid)
			}
			if valid {
				v.CheckReleased(t, got)
			} else if got != nil {
				t.Error("Open returned plaintext with an error")
			}
			if err != nil && !v.Has("InvalidKeySize") && !errors.Is(err, ErrOpen) {
				t.Errorf("Open: %v, want ErrOpen", err)
			}
			ran["at once"]++

			released, err := streamOpen(v)
			if (err == nil) != valid {
				t.Fatalf("streaming: %v, want valid=%v", err, valid)
			}
			v.CheckReleased(t, released)
			ran["streaming"]++

			if testRandomAccess(t, v, valid, got) {
				ran["random access"]++
			}
			if valid {
				testParallel(t, v, got)
				ran["parallel"]++
				testReseal(t, v, got)
				ran["sealed again"]++
			}
		})
	}
	t.Log(ran)
	want := map[string]int{"valid": 10, "invalid": 25, "at once": 35, "streaming": 35, "random access": 25, "parallel": 10, "sealed again": 10}
	if !maps.Equal(ran, want) {
		t.Errorf("vectors run by each path: %v, want %v", ran, want)
	}
}

// testParallel opens the chunks from many goroutines, each with a Message of
// its own copied from one, as package envelope's ReaderAt does.
func testParallel(t *testing.T, v vectortest.Vector, want []byte) {
	m, err := NewOpener(v.Key, v.Context, v.Message)
	if err != nil {
		t.Fatal(err)
	}
	chunks := int(ChunkCount(int64(len(want))))
	got := make([]byte, len(want))
	var wg sync.WaitGroup
	for range 3 { // each of them opens all, so that they meet
		for worker := range 4 {
			mine := *m
			wg.Go(func() {
				for n := worker; n < chunks; n += 4 {
					sealed := v.Message[HeaderSize+n*SealedChunk : min(HeaderSize+(n+1)*SealedChunk, len(v.Message))]
					plain, err := mine.OpenChunk(nil, sealed, uint64(n))
					if err != nil || !bytes.Equal(plain, want[n*ChunkSize:][:len(plain)]) {
						t.Errorf("chunk %d: %v", n, err)
					}
				}
			})
		}
	}
	for n := range chunks {
		sealed := v.Message[HeaderSize+n*SealedChunk : min(HeaderSize+(n+1)*SealedChunk, len(v.Message))]
		plain, err := m.OpenChunk(nil, sealed, uint64(n))
		if err != nil {
			t.Errorf("chunk %d: %v", n, err)
		}
		copy(got[n*ChunkSize:], plain)
	}
	wg.Wait()
	v.CheckReleased(t, got)
}

// testRandomAccess authenticates the size by the last chunk, then opens the
// chunks in a shuffled order. It reports whether the header let it come that far.
func testRandomAccess(t *testing.T, v vectortest.Vector, valid bool, want []byte) bool {
	m, err := NewOpener(v.Key, v.Context, v.Message)
	if (err != nil) != v.Has("HeaderFailure") {
		t.Fatalf("NewOpener: %v, flags %v", err, v.Flags)
	}
	if err != nil {
		return false
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
	if want := valid || v.Has("ValidFinalChunk"); lastOK != want {
		t.Errorf("last chunk authenticates: %v, want %v", lastOK, want)
	}
	if !valid {
		return true
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
	return true
}

// testReseal seals the plaintext under the vector's salt and wants its bytes.
func testReseal(t *testing.T, v vectortest.Vector, plain []byte) {
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
	race.Skip(t, "nothing runs at the same time")
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
