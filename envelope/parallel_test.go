package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/internal/race"
)

// Sources that are read at several offsets at once, from where they stand, give
// what a plain reader gives, and are left where a plain reader would be.
func TestParallelSources(t *testing.T) {
	key := testKey(t)
	const lead = 1000 // bytes of the source before what is sealed
	for _, n := range race.Few(3, []int{0, 5, 1 << 20, 1<<20 + 1, 3<<20 - 1, 3 << 20, 5<<20 + 70000}) {
		plain := pattern(n)
		path := filepath.Join(t.TempDir(), "plain")
		whole := append(make([]byte, lead), plain...)
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, before := range []int{0, 10} { // bytes in the Writer already
			sources := map[string]io.ReadSeeker{
				"file":    mustOpen(t, path),
				"section": io.NewSectionReader(bytes.NewReader(append(make([]byte, 99), whole...)), 99, int64(len(whole))),
				"bytes":   bytes.NewReader(whole),
			}
			for name, src := range sources {
				full := fmt.Sprintf("%s, %d bytes after %d", name, n, before)
				src.Seek(lead, io.SeekStart)
				out := bytes.NewBufferString("what the buffer held")
				w, err := NewWriter(out, KindFile, key, Workers(3))
				if err != nil {
					t.Fatal(err)
				}
				w.Write(make([]byte, before))
				if got, err := w.ReadFrom(src); got != int64(n) || err != nil {
					t.Fatalf("%s: ReadFrom: %d, %v", full, got, err)
				}
				if at, _ := src.Seek(0, io.SeekCurrent); at != int64(len(whole)) {
					t.Errorf("%s: the source stands at %d", full, at)
				}
				w.Write([]byte("and more"))
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				sealed, ok := bytes.CutPrefix(out.Bytes(), []byte("what the buffer held"))
				want := append(append(make([]byte, before), plain...), "and more"...)
				if !ok {
					t.Fatalf("%s: the buffer's contents were changed", full)
				}
				if w.Pin().Size != int64(len(sealed)) {
					t.Errorf("%s: pin of %d bytes, the file has %d", full, w.Pin().Size, len(sealed))
				}
				if name == "file" || n > 5<<20 {
					checkOpens(t, full, sealed, want, key, w.Pin())
				}
			}
		}
	}
}

func mustOpen(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// checkOpens opens sealed from each kind of source to each kind of destination.
func checkOpens(t *testing.T, name string, sealed, want []byte, key *DataKey, pin Pin) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sealed")
	if err := os.WriteFile(path, sealed, 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, src := range map[string]io.ReadSeeker{
		"a file": mustOpen(t, path), "bytes": bytes.NewReader(sealed), "a section": io.NewSectionReader(bytes.NewReader(sealed), 0, int64(len(sealed))),
	} {
		for _, room := range []int{0, 600 << 10, len(want) + bytes.MinRead} {
			src.Seek(0, io.SeekStart)
			r, err := NewReader(src, KindFile, key, Workers(3))
			if err != nil {
				t.Fatal(err)
			}
			out := bytes.NewBuffer(append(make([]byte, 0, room+3), "abc"...))
			if n, err := r.WriteTo(out); err != nil || n != int64(len(want)) || string(out.Bytes()[:3]) != "abc" || !bytes.Equal(out.Bytes()[3:], want) {
				t.Fatalf("%s: opened from %s into a buffer with room for %d: %d, %v", name, kind, room, n, err)
			}
			if at, _ := src.Seek(0, io.SeekCurrent); at != int64(len(sealed)) {
				t.Errorf("%s: %s stands at %d of %d", name, kind, at, len(sealed))
			}
			if r.Pin() != pin {
				t.Errorf("%s: another pin", name)
			}
		}
	}
}

// Every order of the ways to write gives the same file.
func TestWaysToWrite(t *testing.T) {
	key := testKey(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	all := pattern(8 << 20)
	for round := range race.Rounds(15, 5) {
		var out bytes.Buffer
		w, err := NewWriter(&out, KindFile, key, Workers(1+round%3))
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		var ways []string
		for range 6 {
			n := []int{0, 1, 1<<20 - 1, 1 << 20, 3 << 20, 3<<20 + 5}[rnd.IntN(6)]
			p := all[rnd.IntN(1<<20):][:n]
			want = append(want, p...)
			way := rnd.IntN(4)
			ways = append(ways, fmt.Sprintf("%d bytes by way %d", n, way))
			switch way {
			case 0:
				_, err = w.Write(p)
			case 1:
				_, err = w.ReadFrom(bytes.NewReader(p))
			case 2:
				_, err = w.ReadFrom(io.NewSectionReader(bytes.NewReader(p), 0, int64(n)))
			case 3:
				_, err = w.ReadFrom(struct{ io.Reader }{bytes.NewReader(p)})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(&out, KindFile, key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%v: %v, equal %v", ways, err, bytes.Equal(got, want))
		}
	}
}

// When a Write has failed, nothing reads its slice any more.
func TestFailedWriteLetsGo(t *testing.T) {
	for segments := range 6 {
		w, err := NewWriter(&brokenWriter{HeaderSize + segments*sealedSegment}, KindFile, testKey(t), Workers(2))
		if err != nil {
			t.Fatal(err)
		}
		p := pattern(8 << 20)
		if _, err := w.Write(p); err != errBroken {
			t.Fatalf("Write: %v", err)
		}
		if len(w.flight) > 0 {
			t.Errorf("%d segments of the caller's slice are in use after the error", len(w.flight))
		}
		w.Close()
	}
}

// Whatever is wrong with a sealed file is found when its segments are read at
// several offsets too, and no more is released than before the fault.
func TestParallelTampered(t *testing.T) {
	key := testKey(t)
	plain := pattern(4<<20 + 5)
	sealed := seal(t, key, plain)
	at := func(i int) int { return HeaderSize + i*sealedSegment }
	flip := func(i int) []byte {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		return b
	}
	for what, c := range map[string]struct {
		sealed []byte
		valid  int // whole segments before the fault
	}{
		"a bit of a commitment":     {flip(at(2) + 30), 2},
		"a bit of the last chunk":   {flip(at(2) - 1), 1},
		"a bit of the last byte":    {flip(len(sealed) - 1), 4},
		"cut after a segment":       {sealed[:at(3)], 3},
		"cut in a segment's header": {sealed[:at(3)+20], 3},
		"cut after a chunk":         {sealed[:at(3)+56+16400], 3},
		"cut in a tag":              {sealed[:at(3)+56+16390], 3},
		"a byte more":               {append(bytes.Clone(sealed), 0), 4},
		"a segment left out":        {append(bytes.Clone(sealed[:at(1)]), sealed[at(2):]...), 1},
	} {
		for _, workers := range []int{1, 2, 7} {
			r, err := NewReader(bytes.NewReader(c.sealed), KindFile, key, Workers(workers))
			if err != nil {
				t.Fatal(err)
			}
			out := bytes.NewBuffer(make([]byte, 0, 6<<20))
			n, err := r.WriteTo(out)
			if err != ErrAuthentication || n != int64(c.valid)<<20 || !bytes.Equal(out.Bytes(), plain[:n]) {
				t.Errorf("%s, %d workers: %d bytes, %v", what, workers, n, err)
			}
			if rest := out.AvailableBuffer()[:6<<20-n]; !bytes.Equal(rest, make([]byte, len(rest))) {
				t.Errorf("%s, %d workers: plaintext after the fault is left in the buffer", what, workers)
			}
			if _, err := r.Read(make([]byte, 1)); err != ErrAuthentication {
				t.Errorf("%s: then %v", what, err)
			}
		}
	}
}

// A changingAt ends, or fails, at an offset that its owner did not know of.
type changingAt struct {
	b   []byte
	end int64
	err error
}

func (c changingAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= c.end {
		return 0, c.err
	}
	n := copy(p, c.b[off:min(c.end, int64(len(c.b)))])
	if n < len(p) {
		return n, c.err
	}
	return n, nil
}

func TestSourceChanges(t *testing.T) {
	key := testKey(t)
	plain := pattern(4<<20 + 5)
	sealed := seal(t, key, plain)
	for what, c := range map[string]struct{ fault, sealing, opening error }{
		"shrinks": {io.EOF, io.ErrUnexpectedEOF, ErrAuthentication},
		"fails":   {errBroken, errBroken, errBroken},
	} {
		end := int64(2<<20 + 70000)
		var out bytes.Buffer
		w, _ := NewWriter(&out, KindFile, key, Workers(3))
		_, err := w.ReadFrom(io.NewSectionReader(changingAt{plain, end, c.fault}, 0, int64(len(plain))))
		if !errors.Is(err, c.sealing) {
			t.Errorf("sealing a source that %s: %v", what, err)
		}
		if cerr := w.Close(); cerr != err {
			t.Errorf("Close after it: %v", cerr)
		}
		if r, err := NewReader(&out, KindFile, key); err == nil {
			if _, err = io.Copy(io.Discard, r); err != ErrAuthentication {
				t.Errorf("what was sealed of a source that %s opens: %v", what, err)
			}
		}
		r, err := NewReader(io.NewSectionReader(changingAt{sealed, end, c.fault}, 0, int64(len(sealed))), KindFile, key, Workers(3))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if !errors.Is(err, c.opening) || n != 2<<20 {
			t.Errorf("opening a source that %s: %d, %v", what, n, err)
		}
	}
	// A plain reader that fails makes the Writer fail, too.
	w, _ := NewWriter(io.Discard, KindFile, key)
	if _, err := w.ReadFrom(io.MultiReader(bytes.NewReader(plain), brokenReader{})); err != errBroken || w.Close() != errBroken {
		t.Errorf("a broken reader: %v, then %v", err, w.Close())
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

// The bounds are kept: of goroutines, of segments in flight.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		opts           []Option
		workers, depth int
	}{
		{[]Option{Workers(1)}, 1, 1},
		{[]Option{Workers(-3)}, 1, 1},
		{[]Option{Workers(2)}, 2, 4},
		{[]Option{Workers(31)}, 31, 62},
		{[]Option{Workers(64)}, 63, 63},
		{[]Option{Workers(500)}, 63, 63},
		{[]Option{Workers(8), Memory(0)}, 1, 1},
		{[]Option{Workers(8), Memory(6 << 20)}, 2, 2},
		{[]Option{Workers(8), Memory(4 << 20)}, 1, 1},
		{[]Option{Workers(64), Memory(1 << 30)}, 64, 128},
	} {
		workers, depth := optionsOf(c.opts...).limits()
		if workers != c.workers || depth != c.depth {
			t.Errorf("%d workers, %d in flight, want %d, %d", workers, depth, c.workers, c.depth)
		}
	}
	key := testKey(t)
	for _, workers := range []int{1, 2, 5} {
		w, err := NewWriter(io.Discard, KindFile, key, Workers(workers))
		if err != nil {
			t.Fatal(err)
		}
		w.dst = writerFunc(func(p []byte) (int, error) {
			held := len(w.flight) + 1 // the one being written
			if w.filling != nil {
				held++
			}
			if _, depth := w.opts.limits(); held > depth+1 || workers == 1 && held > 1 {
				t.Errorf("%d segments are held with %d workers", held, workers)
			}
			return len(p), nil
		})
		if _, err := io.Copy(w, struct{ io.Reader }{bytes.NewReader(pattern(20 << 20))}); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	base := runtime.NumGoroutine()
	for range 3 { // Readers and Writers that are left behind
		sealed := seal(t, key, pattern(4<<20))
		r, _ := NewReader(bytes.NewReader(sealed), KindFile, key, Workers(4))
		r.Read(make([]byte, 1))
		w, _ := NewWriter(io.Discard, KindFile, key, Workers(4))
		w.Write(pattern(3<<20 + 1))
	}
	one, _ := NewWriter(writerFunc(func(p []byte) (int, error) {
		if n := runtime.NumGoroutine(); n > base+12 { // those left behind may still end
			t.Errorf("%d goroutines with one worker, %d before", n, base)
		}
		return len(p), nil
	}), KindFile, key, Workers(1))
	one.Write(pattern(3 << 20))
	one.Close()
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > base; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left, %d before", runtime.NumGoroutine(), base)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Use changes the limits in the middle of a stream.
func TestUse(t *testing.T) {
	key := testKey(t)
	plain := pattern(9<<20 + 77)
	var out bytes.Buffer
	w, _ := NewWriter(&out, KindFile, key, Workers(4))
	for i, rest := 0, plain; len(rest) > 0; i++ {
		w.Use(Workers(1 + i%5))
		n := min(len(rest), 700_001)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(struct{ io.Reader }{&out}, KindFile, key)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for i := 0; err == nil; i++ {
		r.Use(Workers(1 + i%5))
		b := make([]byte, 600_001)
		var n int
		n, err = io.ReadFull(r, b)
		got = append(got, b[:n]...)
	}
	if err != io.ErrUnexpectedEOF || !bytes.Equal(got, plain) {
		t.Errorf("%v, equal %v", err, bytes.Equal(got, plain))
	}
}

// shortWriter breaks io.Writer's contract.
type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) - 1, nil }

func TestShortWrite(t *testing.T) {
	if _, err := NewWriter(shortWriter{}, KindFile, testKey(t)); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a short write of the header: %v", err)
	}
}

// A segment costs a fixed number of allocations, and its chunks none.
func TestAllocations(t *testing.T) {
	key := testKey(t)
	const few, many = 4, 20
	plain := pattern(many << 20)
	sealedOf := map[int][]byte{few: seal(t, key, plain[:few<<20]), many: seal(t, key, plain)}
	out := bytes.NewBuffer(make([]byte, 0, len(sealedOf[many])+bytes.MinRead))
	p := make([]byte, many<<20)
	for what, run := range map[string]func(segments int){
		"seal": func(n int) {
			out.Reset()
			w, _ := NewWriter(out, KindFile, key, Workers(1))
			w.Write(plain[:n<<20])
			w.Close()
		},
		"open": func(n int) {
			out.Reset()
			r, _ := NewReader(bytes.NewReader(sealedOf[n]), KindFile, key, Workers(1))
			r.WriteTo(out)
		},
		"ReadAt": func(n int) {
			r, _ := NewReaderAt(bytes.NewReader(sealedOf[n]), int64(len(sealedOf[n])), KindFile, key, Workers(1))
			r.ReadAt(p[:n<<20], 0)
		},
	} {
		a := testing.AllocsPerRun(5, func() { run(few) })
		b := testing.AllocsPerRun(5, func() { run(many) })
		perSegment := (b - a) / (many - few)
		t.Logf("%s: %.1f allocations for each segment of 64 chunks, %.0f for a stream", what, perSegment, a-few*perSegment)
		if perSegment > 32 {
			t.Errorf("%s: %.1f allocations for each segment", what, perSegment)
		}
	}
}
