package envelope

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
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
	1 << 20, 1<<20 + 1, 1<<20 + 16384, 2<<20 - 1, 2 << 20, 2<<20 + 1, 7<<20 + 12345}

func TestRoundTrip(t *testing.T) {
	key := testKey(t)
	for _, n := range sizes {
		for _, workers := range []int{1, 2, 5} {
			t.Run(fmt.Sprintf("%d bytes, %d workers", n, workers), func(t *testing.T) {
				testRoundTrip(t, key, pattern(n), Workers(workers))
			})
		}
	}
}

func testRoundTrip(t *testing.T, key *DataKey, plain []byte, opt Option) {
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
		if _, err := OpenExact(bytes.NewReader(sealed), w.Header(), key); err != nil {
			t.Errorf("%s: OpenExact: %v", name, err)
		}
		if name != "Write" {
			continue
		}
		testRanges(t, sealed, plain, w.Header(), key)
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
			r, err := OpenRange(bytes.NewReader(sealed[from:from+length]), h, key, size, off, end-off)
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

// openAllPaths opens sealed in every way, and gives what each released, with its
// error, and the error of one more read.
func openAllPaths(sealed []byte, kind Kind, key *DataKey) map[string]func() (got []byte, err, again error) {
	stream := func(opt Option, src func(io.Reader) io.Reader) func() ([]byte, error, error) {
		return func() ([]byte, error, error) {
			r, err := NewReader(src(bytes.NewReader(sealed)), kind, key, opt)
			if err != nil {
				return nil, err, err
			}
			got, err := io.ReadAll(r)
			_, again := r.Read(make([]byte, 1))
			return got, err, again
		}
	}
	plain := func(r io.Reader) io.Reader { return r }
	return map[string]func() ([]byte, error, error){
		"stream":   stream(Workers(1), plain),
		"parallel": stream(Workers(3), plain),
		"short reads": stream(Workers(2), func(r io.Reader) io.Reader {
			return iotest.DataErrReader(iotest.HalfReader(r))
		}),
		"WriteTo": func() ([]byte, error, error) {
			r, err := NewReader(bytes.NewReader(sealed), kind, key)
			if err != nil {
				return nil, err, err
			}
			var b bytes.Buffer
			_, err = r.WriteTo(&b)
			_, again := r.Read(make([]byte, 1))
			return b.Bytes(), err, again
		},
		"ReaderAt": func() ([]byte, error, error) {
			r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), kind, key)
			if err != nil {
				return nil, err, err
			}
			b := make([]byte, r.Size())
			n, err := r.ReadAt(b, 0)
			for _, c := range b[n:] {
				if c != 0 {
					return b, err, err // released more than it said
				}
			}
			_, again := r.ReadAt(make([]byte, 1), 0)
			return b[:n], err, again
		},
	}
}

func checkTampered(t *testing.T, what string, sealed, plain []byte, key *DataKey) {
	t.Helper()
	for path, open := range openAllPaths(sealed, KindFile, key) {
		got, err, again := open()
		if !errors.Is(err, ErrAuthentication) && !errors.Is(err, ErrFormat) {
			t.Fatalf("%s, %s: error %v", what, path, err)
		}
		if again == nil || again == io.EOF || again.Error() != err.Error() {
			t.Fatalf("%s, %s: then %v after %v", what, path, again, err)
		}
		if !bytes.HasPrefix(plain, got) {
			t.Fatalf("%s, %s: wrong plaintext released", what, path)
		}
	}
}

func TestEveryBitAndEveryCut(t *testing.T) {
	key := testKey(t)
	plain := pattern(60)
	sealed := seal(t, key, plain)
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			checkTampered(t, fmt.Sprintf("bit %d of byte %d", bit, i), bad, plain, key)
		}
		checkTampered(t, fmt.Sprintf("cut to %d", i), sealed[:i], plain, key)
	}
	for n := 1; n < 100; n++ {
		checkTampered(t, fmt.Sprintf("%d bytes more", n), append(bytes.Clone(sealed), make([]byte, n)...), plain, key)
	}
}

func TestSegmentsExchanged(t *testing.T) {
	key := testKey(t)
	plain := pattern(4<<20 + 5)
	sealed, other := seal(t, key, plain), seal(t, key, plain)
	segment := func(b []byte, i int) []byte {
		from := HeaderSize + i*sealedSegment
		return b[from:min(from+sealedSegment, len(b))]
	}
	build := func(parts ...[]byte) []byte {
		return append(bytes.Clone(sealed[:HeaderSize]), bytes.Join(parts, nil)...)
	}
	s := func(i int) []byte { return segment(sealed, i) }
	emptyLast := seal(t, key, pattern(3<<20))
	for what, bad := range map[string][]byte{
		"two segments exchanged":       build(s(1), s(0), s(2), s(3), s(4)),
		"a segment twice":              build(s(0), s(0), s(2), s(3), s(4)),
		"a segment left out":           build(s(0), s(2), s(3), s(4)),
		"the last left out":            build(s(0), s(1), s(2), s(3)),
		"only the last":                build(s(4)),
		"the last twice":               build(s(0), s(1), s(2), s(3), s(4), s(4)),
		"no segment":                   build(),
		"a segment of another file":    build(s(0), segment(other, 1), s(2), s(3), s(4)),
		"another file's last":          build(s(0), s(1), s(2), segment(emptyLast, 3)),
		"a segment with a chunk less":  build(s(0), s(1)[:sealedSegment-16400], s(2), s(3), s(4)),
		"a byte more at the very end":  build(s(0), s(1), s(2), s(3), s(4), []byte{0}),
		"the header of the other file": append(bytes.Clone(other[:HeaderSize]), sealed[HeaderSize:]...),
	} {
		checkTampered(t, what, bad, plain, key)
	}
	checkTampered(t, "another key", sealed, plain, testKey(t))
	for path, open := range openAllPaths(sealed, KindPack, key) {
		if _, err, _ := open(); err != ErrAuthentication {
			t.Errorf("opened as another kind by %s: %v", path, err)
		}
	}
	h, _ := ReadHeader(bytes.NewReader(other))
	if _, err := OpenExact(bytes.NewReader(sealed), h, key); err != ErrAuthentication {
		t.Errorf("OpenExact with another object ID: %v", err)
	}
}

var errBroken = errors.New("the line is dead")

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestBrokenEnds(t *testing.T) {
	key := testKey(t)
	plain := pattern(5 << 20)
	for _, left := range []int{0, HeaderSize, sealedSegment, 3 * sealedSegment, 5*sealedSegment + 100} {
		w, err := NewWriter(&brokenWriter{left}, KindFile, key)
		if err == nil {
			_, err = w.Write(plain)
			if cerr := w.Close(); err == nil {
				err = cerr
			}
			if again := w.Close(); again != err {
				t.Errorf("second Close after an error: %v", again)
			}
		}
		if !errors.Is(err, errBroken) {
			t.Errorf("destination breaks after %d: %v", left, err)
		}
	}
	sealed := seal(t, key, plain)
	for _, n := range []int{10, HeaderSize, HeaderSize + 10, HeaderSize + 2*sealedSegment, len(sealed) - 1} {
		src := io.MultiReader(bytes.NewReader(sealed[:n]), iotest.ErrReader(errBroken))
		r, err := NewReader(src, KindFile, key)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(r)
			if _, again := r.Read(make([]byte, 1)); again != err {
				t.Errorf("then %v", again)
			}
		}
		if !errors.Is(err, errBroken) || !bytes.HasPrefix(plain, got) {
			t.Errorf("source breaks after %d: %v", n, err)
		}
		if want := max(0, (n-HeaderSize)/sealedSegment<<20); len(got) != want {
			t.Errorf("source breaks after %d: %d bytes came before the error, want %d", n, len(got), want)
		}
	}
	w, _ := NewWriter(io.Discard, KindFile, key)
	if _, err := w.ReadFrom(iotest.ErrReader(errBroken)); !errors.Is(err, errBroken) {
		t.Errorf("ReadFrom a broken source: %v", err)
	}
}
