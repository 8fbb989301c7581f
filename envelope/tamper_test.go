package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/vaultpack/vaultpack/internal/race"
)

// sealLocal seals a file on its own under k.
func sealLocal(t testing.TB, k *LocalKey, ec EncryptionContext, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := Seal(ctx, &out, ec, k)
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

// Every bit flipped, every cut, and every small addition is found by all paths,
// before any changed plaintext, and again by the read after the error.
func TestEveryBitAndEveryCut(t *testing.T) {
	key, local := testKey(t), GenerateLocalKey()
	ec := EncryptionContext{"project": "p"}
	files := map[string]struct {
		subject subject
		sealed  []byte
		plain   []byte
	}{
		"empty":           {keySubject(KindFile, key), seal(t, key, nil), nil},
		"one byte":        {keySubject(KindFile, key), seal(t, key, pattern(1)), pattern(1)},
		"a chunk and one": {keySubject(KindFile, key), seal(t, key, pattern(16385)), pattern(16385)},
		"with a keyring":  {wrapperSubject(ec, local), sealLocal(t, local, ec, pattern(1)), pattern(1)},
	}
	// Past the headers, samples where time is short.
	step := 1
	if race.Enabled || testing.Short() {
		step = 331
	}
	const shards = 2 // so that two cores share the longest file
	var flips, cuts, want atomic.Int64
	t.Run("all", func(t *testing.T) {
		for name, f := range files {
			for _, p := range fewPaths { // else nothing below means anything
				if o := p.run(f.subject, f.sealed); o.err != nil || !bytes.Equal(o.got, f.plain) {
					t.Fatalf("unchanged: %s: %v", p.name, o.err)
				}
			}
			want.Add(int64(len(f.sealed)))
			for shard := range shards {
				t.Run(fmt.Sprint(name, shard), func(t *testing.T) {
					t.Parallel()
					bad := bytes.Clone(f.sealed)
					for i := shard; i < len(bad); i += shards {
						edge := !race.Enabled && (i < 600 || i > len(bad)-20)
						for bit := range 8 {
							if edge || (8*i+bit)%step == 0 {
								bad[i] ^= 1 << bit
								checkTampered(t, f.subject, bad, f.plain, "bit %d of byte %d", bit, i)
								bad[i] ^= 1 << bit
								flips.Add(1)
							}
						}
						if edge || i%step == 0 {
							checkTampered(t, f.subject, f.sealed[:i], f.plain, "cut to %d", i)
							cuts.Add(1)
						}
					}
					for n := 1 + shard; n <= 130; n += shards {
						checkTampered(t, f.subject, append(bytes.Clone(f.sealed), make([]byte, n)...), f.plain, "%d zeros more", n)
					}
				})
			}
		}
	})
	t.Logf("%d bits and %d cuts of %d bytes", flips.Load(), cuts.Load(), want.Load())
	if step == 1 && (flips.Load() != 8*want.Load() || cuts.Load() != want.Load()) {
		t.Error("that is not all of them")
	}
}

// The same for two segments: every byte of the headers, every boundary of a
// chunk with one byte either side, every tag, and samples of the rest.
func TestSegmentsTampered(t *testing.T) {
	race.Skip(t, "it opens one file after the other")
	key := testKey(t)
	plain := pattern(SegmentSize + 16384 + 5)
	sealed := seal(t, key, plain)
	s := keySubject(KindFile, key)
	var bytesToFlip, cuts []int
	for i := range HeaderSize + 56 {
		bytesToFlip = append(bytesToFlip, i)
		cuts = append(cuts, i)
	}
	for i := range 56 {
		bytesToFlip = append(bytesToFlip, HeaderSize+sealedSegment+i)
		cuts = append(cuts, HeaderSize+sealedSegment+i)
	}
	boundary := func(at int) {
		for i := at - 1; i <= at+1; i++ {
			cuts = append(cuts, i)
		}
		cuts = append(cuts, at-16)
		bytesToFlip = append(bytesToFlip, at-16, at-1, at)
	}
	for at := HeaderSize + 56 + 16400; at < HeaderSize+sealedSegment; at += 16400 {
		boundary(at)
	}
	boundary(HeaderSize + sealedSegment)
	boundary(HeaderSize + sealedSegment + 56)
	boundary(HeaderSize + sealedSegment + 56 + 16400)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		bytesToFlip = append(bytesToFlip, rng.IntN(len(sealed)))
		cuts = append(cuts, rng.IntN(len(sealed)))
	}
	thin := 1
	if testing.Short() {
		thin = 5
	}
	for k, i := range bytesToFlip {
		if k%thin == 0 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << (k % 8)
			checkTampered(t, s, bad, plain, "bit %d of byte %d", k%8, i)
		}
	}
	for k, n := range cuts {
		if k%thin == 0 {
			checkTampered(t, s, sealed[:n], plain, "cut to %d", n)
		}
	}
}

// OpenExact and OpenRange get the header from elsewhere, so they find any other
// file out, though its own key opened it.
func TestKnownHeaders(t *testing.T) {
	key := testKey(t)
	plain := pattern(SegmentSize + 40000)
	var a, b bytes.Buffer
	wa, _ := NewWriter(&a, KindPack, key)
	wb, _ := NewWriter(&b, KindPack, key)
	for _, w := range []*Writer{wa, wb} {
		w.Write(plain)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if wa.Pin() == wb.Pin() {
		t.Error("two files of the same plaintext have one pin")
	}
	sealed := a.Bytes()
	r, err := wa.Header().OpenExact(bytes.NewReader(sealed), key)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) || r.Pin() != wa.Pin() {
		t.Fatalf("OpenExact: %d bytes, %v, pin %v", len(got), err, r.Pin())
	}
	for i := range HeaderSize {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := wa.Header().OpenExact(bytes.NewReader(bad), key); err != ErrAuthentication {
			t.Errorf("OpenExact with byte %d changed: %v", i, err)
		}
		if _, err := wa.Header().OpenExact(bytes.NewReader(sealed[:i]), key); err != ErrAuthentication {
			t.Errorf("OpenExact of %d bytes: %v", i, err)
		}
	}
	if _, err := wb.Header().OpenExact(bytes.NewReader(sealed), key); err != ErrAuthentication {
		t.Errorf("OpenExact with another object ID: %v", err)
	}
	if _, err := wa.Header().OpenExact(bytes.NewReader(sealed), testKey(t)); err != ErrAuthentication {
		t.Errorf("OpenExact with another key: %v", err)
	}
	size := int64(len(plain))
	open := func(sealed []byte, h Header, size, off, n int64) ([]byte, error, error) {
		r, err := h.OpenRange(bytes.NewReader(sealed), key, size, off, n, Workers(2))
		if err != nil {
			return nil, err, err
		}
		got, err := io.ReadAll(r)
		_, again := r.Read(make([]byte, 1))
		return got, err, again
	}
	from, length := SegmentRange(size, 0, size)
	whole := sealed[from : from+length]
	for what, f := range map[string]func() ([]byte, error, error){
		"another header":          func() ([]byte, error, error) { return open(whole, wb.Header(), size, 0, size) },
		"another file":            func() ([]byte, error, error) { return open(b.Bytes()[from:], wa.Header(), size, 0, size) },
		"a smaller size":          func() ([]byte, error, error) { return open(whole, wa.Header(), size-1, 0, size-1) },
		"a larger size":           func() ([]byte, error, error) { return open(whole, wa.Header(), size+1, 0, size+1) },
		"a size of one segment":   func() ([]byte, error, error) { return open(whole, wa.Header(), SegmentSize-1, 0, SegmentSize-1) },
		"the wrong segment":       func() ([]byte, error, error) { return open(whole, wa.Header(), size, SegmentSize, 10) },
		"cut in the last segment": func() ([]byte, error, error) { return open(whole[:len(whole)-1], wa.Header(), size, 0, size) },
		"cut after a segment":     func() ([]byte, error, error) { return open(whole[:sealedSegment], wa.Header(), size, 0, size) },
		"nothing":                 func() ([]byte, error, error) { return open(nil, wa.Header(), size, 5, 5) },
	} {
		got, err, again := f()
		if err != ErrAuthentication || again != err || !bytes.HasPrefix(plain, got) {
			t.Errorf("OpenRange with %s: %d bytes, %v, then %v", what, len(got), err, again)
		}
	}
	for _, bad := range [][2]int64{{-1, 1}, {0, -1}, {0, size + 1}, {size, 1}, {size + 1, 0}} {
		if _, err := wa.Header().OpenRange(bytes.NewReader(whole), key, size, bad[0], bad[1]); err == nil || errors.Is(err, ErrAuthentication) {
			t.Errorf("OpenRange at %d for %d: %v", bad[0], bad[1], err)
		}
	}
}

// A ReaderAt never takes the key of one segment for that of another, though it
// keeps fewer keys than there are segments.
func TestManySegments(t *testing.T) {
	key := testKey(t)
	plain := make([]byte, 4*SegmentSize+5)
	for i := range 5 {
		plain[i*SegmentSize] = byte(i)
	}
	sealed := seal(t, key, plain)
	r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), KindFile, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.cache) < 2 {
		t.Fatalf("it keeps %d keys", len(r.cache))
	}
	r.cache = r.cache[:2] // as of a file larger than the bound
	for _, i := range []int{0, 2, 0, 1, 3, 1, 4, 2, 4} {
		p := make([]byte, 1)
		if _, err := r.ReadAt(p, int64(i)*SegmentSize); err != nil || p[0] != byte(i) {
			t.Fatalf("segment %d: %d, %v", i, p[0], err)
		}
	}
}

// Pins tell apart what differs in any segment.
func TestPinCoversEverySegment(t *testing.T) {
	h := &pinner{size: HeaderSize}
	first := h.pin()
	seen := map[Pin]bool{first: true}
	key := make([]byte, DataKeySize)
	var segments [][]byte
	for i := range uint64(3) {
		b, err := sealSegment(nil, newSecret(key), i, pattern(100))
		if err != nil {
			t.Fatal(err)
		}
		segments = append(segments, b)
	}
	pinOf := func(segments ...[]byte) Pin {
		p := &pinner{size: HeaderSize}
		for _, s := range segments {
			p.add(s, int64(len(s)))
		}
		return p.pin()
	}
	whole := pinOf(segments...)
	for n := range segments {
		for i := range 56 {
			changed := append([][]byte{}, segments...)
			changed[n] = bytes.Clone(changed[n])
			changed[n][i] ^= 1
			seen[pinOf(changed...)] = true
		}
		seen[pinOf(segments[:n]...)] = true
	}
	if seen[whole] {
		t.Error("a change of a segment's header keeps the pin")
	}
	if len(seen) != 3*56+3 {
		t.Errorf("%d pins", len(seen))
	}
}

// OpenAt of a known header opens what lies in its place in the file, from no more than
// ChunkRange says, and nothing else.
func TestOpenAtKnown(t *testing.T) {
	key := testKey(t)
	plain := pattern(2*SegmentSize + 5*ChunkSize + 9)
	var a, b bytes.Buffer
	wa, wb := must(NewWriter(&a, KindPack, key)), must(NewWriter(&b, KindPack, key))
	for _, w := range []*Writer{wa, wb} {
		must(w.Write(plain))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	size := int64(len(plain))
	for range 200 {
		off := rand.Int64N(size)
		n := 1 + rand.Int64N(min(size-off, SegmentSize-off%SegmentSize))
		head, from, length := ChunkRange(size, off, n)
		if length > SealedSize(n+2*ChunkSize) || head > from {
			t.Fatalf("%d bytes from %d: %d sealed bytes from %d, and the head at %d", n, off, length, from, head)
		}
		// Of all other bytes there are none.
		only := func(sealed []byte) []byte {
			part := make([]byte, from+length)
			copy(part[head:head+SegmentHead], sealed[head:])
			copy(part[from:], sealed[from:])
			return part
		}
		p := make([]byte, n)
		r := must(wa.Header().OpenAt(bytes.NewReader(only(a.Bytes())), key, size))
		if got, err := r.ReadAt(p, off); err != nil || int64(got) != n || !bytes.Equal(p, plain[off:off+n]) {
			t.Fatalf("%d bytes from %d: %d, %v", n, off, got, err)
		}
		changed := only(a.Bytes())
		changed[from+rand.Int64N(length)] ^= 1
		another := only(a.Bytes())
		copy(another[from:], b.Bytes()[from:from+length])
		moved := only(a.Bytes())
		copy(moved[from:], moved[from+length/2:])
		for what, sealed := range map[string][]byte{"a changed byte": changed, "chunks of another file": another,
			"another file": only(b.Bytes()), "moved chunks": moved, "an end before": only(a.Bytes())[:from+length-1], "nothing": nil} {
			r := must(wa.Header().OpenAt(bytes.NewReader(sealed), key, size))
			clear(p)
			if got, err := r.ReadAt(p, off); err != ErrAuthentication || got != 0 || bytes.ContainsFunc(p, func(r rune) bool { return r != 0 }) {
				t.Fatalf("%s, %d bytes from %d: %d, %v", what, n, off, got, err)
			}
		}
	}
	r := must(wa.Header().OpenAt(bytes.NewReader(a.Bytes()), key, size-1))
	if _, err := r.ReadAt(make([]byte, 1), size-2); err != ErrAuthentication {
		t.Errorf("the end of a file of another size: %v", err)
	}
	for _, size := range []int64{-1, maxSize + 1} {
		if _, err := wa.Header().OpenAt(bytes.NewReader(nil), key, size); err == nil {
			t.Errorf("a size of %d was taken", size)
		}
	}
	if _, err := wa.Header().OpenAt(nil, key, size); err == nil {
		t.Error("no source was taken")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
