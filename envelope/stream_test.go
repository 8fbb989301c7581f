package envelope

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/vaultpack/vaultpack/internal/race"
)

// testKey makes a data key outside any keyring.
func testKey(t testing.TB) *DataKey {
	t.Helper()
	_, key, err := NewKeyring(context.Background(), nil, GenerateLocalKey())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func seal(t testing.TB, key *DataKey, plain []byte, opts ...Option) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, KindFile, key, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func pattern(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return b
}

// sizes are the boundaries of chunks and segments, and one either side.
var sizes = []int{0, 1, 100, 16383, 16384, 16385, 2 * 16384, 1<<20 - 16385, 1<<20 - 16384, 1<<20 - 1,
	1 << 20, 1<<20 + 1, 1<<20 + 16384, 2<<20 - 1, 2 << 20, 2<<20 + 1, 3<<20 + 12345}

func TestRoundTrip(t *testing.T) {
	key := testKey(t)
	for _, n := range race.Few(4, sizes) {
		for _, workers := range race.Few(3, []int{1, 5, 3}) {
			t.Run(fmt.Sprintf("%d bytes, %d workers", n, workers), func(t *testing.T) {
				// Ranges have nothing to do with the Writer's workers.
				ranges := workers == 3 && (n < 2 || n == 16384 || n == 1<<20+1 || !race.Enabled && (n == 1<<20 || n > 3<<20))
				testRoundTrip(t, key, pattern(n), ranges, Workers(workers))
			})
		}
	}
}

func testRoundTrip(t *testing.T, key *DataKey, plain []byte, ranges bool, opt Option) {
	n := len(plain)
	// Written in one piece, in odd pieces, and by ReadFrom.
	writes := map[string]func(*Writer) error{
		"Write": func(w *Writer) error { _, err := w.Write(plain); return err },
		"odd writes": func(w *Writer) error {
			for rest, k := plain, 1; len(rest) > 0; k = k*7%400009 + 1 {
				k := min(k, len(rest))
				if _, err := w.Write(rest[:k]); err != nil {
					return err
				}
				rest = rest[k:]
			}
			return nil
		},
		"ReadFrom": func(w *Writer) error {
			_, err := w.ReadFrom(iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(plain))))
			return err
		},
	}
	for name, write := range writes {
		var out bytes.Buffer
		w, err := NewWriter(&out, KindPack, key, opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := write(w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := w.Close(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: second Close: %v", name, err)
		}
		if _, err := w.Write([]byte{1}); err == nil {
			t.Errorf("%s: a closed Writer took a byte", name)
		}
		sealed := out.Bytes()
		if got := SealedSize(int64(n)); got != int64(len(sealed)) {
			t.Fatalf("%s: SealedSize = %d, the file has %d", name, got, len(sealed))
		}
		if got, err := PlaintextSize(int64(len(sealed))); err != nil || got != int64(n) {
			t.Fatalf("%s: PlaintextSize = %d, %v", name, got, err)
		}

		r, err := NewReader(iotest.HalfReader(bytes.NewReader(sealed)), KindPack, key, opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(io.LimitReader(r, int64(n)), plain); n < 1<<18 && err != nil {
			t.Error(err)
		}
		r, _ = NewReader(iotest.DataErrReader(bytes.NewReader(sealed)), KindPack, key, opt)
		var got bytes.Buffer
		if _, err := io.Copy(&got, r); err != nil || !bytes.Equal(got.Bytes(), plain) {
			t.Fatalf("%s: WriteTo: %v, equal %v", name, err, bytes.Equal(got.Bytes(), plain))
		}
		if r.Pin() != w.Pin() || w.Pin().Size != int64(len(sealed)) {
			t.Errorf("%s: pins differ: %v, %v", name, r.Pin(), w.Pin())
		}
		if _, err := w.Header().OpenExact(bytes.NewReader(sealed), key); err != nil {
			t.Errorf("%s: OpenExact: %v", name, err)
		}
		if name == "Write" && ranges {
			testRanges(t, sealed, plain, w.Header(), key)
		}
	}
}

// testRanges compares ReaderAt and OpenRange with the plaintext on ranges whose
// ends lie on and beside the boundaries.
func testRanges(t *testing.T, sealed, plain []byte, h Header, key *DataKey) {
	t.Helper()
	size := int64(len(plain))
	ra, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), KindPack, key)
	if err != nil {
		t.Fatal(err)
	}
	if ra.Size() != size {
		t.Fatalf("ReaderAt.Size = %d, want %d", ra.Size(), size)
	}
	var edges []int64
	for _, e := range sizes {
		if int64(e) <= size {
			edges = append(edges, int64(e))
		}
	}
	for i, off := range edges {
		for _, end := range edges[i:] {
			want := plain[off:end]
			p := make([]byte, end-off)
			if n, err := ra.ReadAt(p, off); n != len(p) || err != nil && err != io.EOF || !bytes.Equal(p, want) {
				t.Fatalf("ReadAt %d to %d: %d, %v", off, end, n, err)
			}
			from, length := SegmentRange(size, off, end-off)
			r, err := h.OpenRange(bytes.NewReader(sealed[from:from+length]), key, size, off, end-off, Workers(2))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("OpenRange %d to %d: %v, %d bytes", off, end, err, len(got))
			}
		}
	}
	if n, err := ra.ReadAt(make([]byte, 10), size); n != 0 || err != io.EOF {
		t.Errorf("ReadAt the end: %d, %v", n, err)
	}
	if n, err := ra.ReadAt(make([]byte, 10), max(size-3, 0)); n != int(min(size, 3)) || err != io.EOF {
		t.Errorf("ReadAt over the end: %d, %v", n, err)
	}
}
