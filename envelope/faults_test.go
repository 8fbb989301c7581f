package envelope

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/vaultpack/vaultpack/internal/race"
)

var errBroken = errors.New("the line is dead")

// brokenWriter takes so many bytes and breaks.
type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// stutterReader returns zero bytes and no error on every second call, and few
// bytes on the others.
type stutterReader struct {
	r     io.Reader
	calls int
}

func (s *stutterReader) Read(p []byte) (int, error) {
	s.calls++
	if s.calls%2 == 1 {
		return 0, nil
	}
	return s.r.Read(p[:min(len(p), 1+s.calls*977%40000)])
}

// dataWithError returns the last bytes of data together with err.
func dataWithError(data []byte, err error) io.Reader {
	return &errorAtEnd{bytes.NewReader(data), err}
}

type errorAtEnd struct {
	*bytes.Reader
	err error
}

func (r *errorAtEnd) Read(p []byte) (int, error) {
	n, _ := r.Reader.Read(p)
	if r.Len() == 0 {
		return n, r.err
	}
	return n, nil
}

// odd readers are all legal, and none may change what comes out.
var oddReaders = map[string]func(io.Reader) io.Reader{
	"half":          iotest.HalfReader,
	"data with EOF": iotest.DataErrReader,
	"stutter":       func(r io.Reader) io.Reader { return &stutterReader{r: r} },
	"one byte":      iotest.OneByteReader,
}

func TestOddReaders(t *testing.T) {
	key := testKey(t)
	for _, n := range []int{0, 1, 16384, 2<<20 + 777} {
		plain := pattern(n)
		for name, odd := range oddReaders {
			for _, workers := range []int{1, 3} {
				var sealed bytes.Buffer
				w, err := NewWriter(&sealed, KindFile, key, Workers(workers))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := w.ReadFrom(odd(bytes.NewReader(plain))); err != nil || got != int64(n) {
					t.Fatalf("%s: ReadFrom: %d, %v", name, got, err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if _, err := w.ReadFrom(bytes.NewReader(nil)); err == nil {
					t.Errorf("%s: a closed Writer took a source", name)
				}
				r, err := NewReader(odd(bytes.NewReader(sealed.Bytes())), KindFile, key, Workers(workers))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s, %d bytes, %d workers: %d bytes, %v", name, n, workers, len(got), err)
				}
				if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("%s: after the end: %d, %v", name, n, err)
				}
			}
		}
	}
}

// A source that breaks is told from one that ends, also where it breaks with
// io.ErrUnexpectedEOF, as a cut HTTP body does. What came before is released.
func TestSourceBreaks(t *testing.T) {
	key := testKey(t)
	plain := pattern(5 << 20)
	sealed := seal(t, key, plain)
	for _, broken := range []error{errBroken, io.ErrUnexpectedEOF, iotest.ErrTimeout} {
		for _, n := range []int{0, 10, HeaderSize, HeaderSize + 10, HeaderSize + sealedSegment, HeaderSize + 2*sealedSegment + 5, len(sealed) - 1} {
			for how, src := range map[string]io.Reader{
				"alone":     io.MultiReader(bytes.NewReader(sealed[:n]), iotest.ErrReader(broken)),
				"with data": dataWithError(sealed[:n], broken),
			} {
				for _, workers := range race.Few(2, []int{1, 3}) {
					name := fmt.Sprintf("%v after %d bytes, %s, %d workers", broken, n, how, workers)
					r, err := NewReader(src, KindFile, key, Workers(workers))
					var got []byte
					if err == nil {
						got, err = io.ReadAll(r)
						if _, again := r.Read(make([]byte, 1)); again != err {
							t.Errorf("%s: %v, then %v", name, err, again)
						}
					}
					if !errors.Is(err, broken) || errors.Is(err, ErrFormat) || errors.Is(err, ErrAuthentication) {
						t.Errorf("%s: %v", name, err)
					}
					if want := max(0, (n-HeaderSize)/sealedSegment*SegmentSize); !bytes.Equal(got, plain[:want]) {
						t.Errorf("%s: %d bytes came before the error, want %d", name, len(got), want)
					}
					src = io.MultiReader(bytes.NewReader(sealed[:n]), iotest.ErrReader(broken))
				}
			}
		}
		// ReadFrom tells the error, which stays: what it leaves does not open.
		for _, n := range []int{0, 1, SegmentSize, SegmentSize + 1, 3 * SegmentSize} {
			for how, src := range map[string]io.Reader{
				"alone":          io.MultiReader(bytes.NewReader(plain[:n]), iotest.ErrReader(broken)),
				"with data":      dataWithError(plain[:n], broken),
				"at many places": io.NewSectionReader(&endsIn{plain[:n], broken}, 0, int64(len(plain))),
			} {
				var out bytes.Buffer
				w, _ := NewWriter(&out, KindFile, key, Workers(3))
				got, err := w.ReadFrom(src)
				if got > int64(n) || !errors.Is(err, broken) {
					t.Errorf("ReadFrom a source with %v after %d, %s: %d, %v", broken, n, how, got, err)
				}
				if _, again := w.Write(plain); again != err {
					t.Errorf("Write after ReadFrom failed: %v, not %v", again, err)
				}
				if again := w.Close(); again != err {
					t.Errorf("Close after ReadFrom failed: %v, not %v", again, err)
				}
				if wrong := checkFailed(fewPaths[0].run(keySubject(KindFile, key), out.Bytes()), plain); wrong != "" {
					t.Errorf("a source that broke after %d, %s: %s", n, how, wrong)
				}
			}
		}
	}
}

// endsIn is a ReaderAt that has some bytes and then an error.
type endsIn struct {
	b   []byte
	err error
}

func (r *endsIn) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, r.b[min(off, int64(len(r.b))):])
	if n < len(p) {
		return n, r.err
	}
	return n, nil
}

// faultyAt is a ReaderAt whose call number bad breaks.
type faultyAt struct {
	b          []byte
	calls, bad int
}

func (f *faultyAt) ReadAt(p []byte, off int64) (int, error) {
	f.calls++
	if f.calls == f.bad {
		return copy(p[:len(p)/2], f.b[off:]), io.ErrUnexpectedEOF
	}
	return bytes.NewReader(f.b).ReadAt(p, off)
}

func TestReaderAtSourceBreaks(t *testing.T) {
	key := testKey(t)
	plain := pattern(1<<20 + 40000)
	sealed := seal(t, key, plain)
	broke := 0
	for bad := 1; bad <= 8; bad++ {
		src := &faultyAt{b: sealed, bad: bad}
		r, err := NewReaderAt(src, int64(len(sealed)), KindFile, key)
		if err != nil {
			if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrAuthentication) || errors.Is(err, ErrFormat) {
				t.Errorf("call %d breaks: %v", bad, err)
			}
			broke++
			continue
		}
		for _, off := range []int64{0, 20000, 1 << 20, 1<<20 + 20000} {
			p := make([]byte, 10000)
			n, err := r.ReadAt(p, off)
			if err != nil {
				broke++
				if n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(p, make([]byte, len(p))) {
					t.Errorf("call %d breaks: %d, %v", bad, n, err)
				}
				n, err = r.ReadAt(p, off) // errors of the source are not sticky
			}
			if err != nil || !bytes.Equal(p[:n], plain[off:][:10000]) {
				t.Errorf("call %d breaks, then: %d, %v", bad, n, err)
			}
		}
	}
	if broke < 4 {
		t.Errorf("only %d of the scripted faults were met", broke)
	}
}

// lyingWriter answers its call number bad with a count and an error of its own.
type lyingWriter struct {
	calls, bad int
	count      func(n int) int
	err        error
}

func (w *lyingWriter) Write(p []byte) (int, error) {
	w.calls++
	if w.calls == w.bad {
		return w.count(len(p)), w.err
	}
	return len(p), nil
}

func TestDestinationBreaks(t *testing.T) {
	key := testKey(t)
	plain := pattern(5<<20 + 3)
	cases := map[string]struct {
		count func(int) int
		err   error
		want  error
	}{
		"an error":           {func(int) int { return 0 }, errBroken, errBroken},
		"half and an error":  {func(n int) int { return n / 2 }, errBroken, errBroken},
		"all and an error":   {func(n int) int { return n }, errBroken, errBroken},
		"a byte too few":     {func(n int) int { return n - 1 }, nil, io.ErrShortWrite},
		"nothing":            {func(int) int { return 0 }, nil, io.ErrShortWrite},
		"a byte too many":    {func(n int) int { return n + 1 }, nil, errInvalidWrite},
		"less than nothing":  {func(int) int { return -1 }, nil, errInvalidWrite},
		"too many, an error": {func(n int) int { return n + 1 }, errBroken, errBroken},
	}
	for name, c := range cases {
		for bad := 1; bad <= 7; bad++ { // the header, five segments, the last one
			for _, workers := range race.Few(2, []int{1, 3}) {
				name := fmt.Sprintf("%s at write %d with %d workers", name, bad, workers)
				dst := &lyingWriter{bad: bad, count: c.count, err: c.err}
				w, err := NewWriter(dst, KindFile, key, Workers(workers))
				if err == nil {
					p := plain
					var n int
					n, err = w.Write(p)
					// One segment may be taken whole, and still be answered with an error.
					if took := max(0, min(dst.calls, bad-1)-1) * SegmentSize; n > took && err != nil {
						t.Errorf("%s: Write says %d, the destination took %d", name, n, took)
					}
					if len(w.flight) != 0 {
						t.Errorf("%s: %d segments are still read from the caller's slice", name, len(w.flight))
					}
					if err != nil {
						if n >= len(p) {
							t.Errorf("%s: wrote %d with an error", name, n)
						}
						if _, again := w.Write(p[:1]); again != err {
							t.Errorf("%s: next Write: %v after %v", name, again, err)
						}
						if _, again := w.ReadFrom(bytes.NewReader(p)); again != err {
							t.Errorf("%s: next ReadFrom: %v after %v", name, again, err)
						}
					}
					cerr := w.Close()
					if err == nil {
						err = cerr
					}
					if again := w.Close(); again != err || cerr != err {
						t.Errorf("%s: Close gives %v and %v after %v", name, cerr, again, err)
					}
					if _, again := w.Write(nil); again != err {
						t.Errorf("%s: Write after Close: %v", name, again)
					}
				}
				if !errors.Is(err, c.want) {
					t.Errorf("%s: %v, want %v", name, err, c.want)
				}
				if dst.calls != bad {
					t.Errorf("%s: the destination was called %d times", name, dst.calls)
				}
			}
		}
		// The same of what a Reader writes to. It can go on after that.
		sealed := seal(t, key, plain)
		for bad := 1; bad <= 6; bad++ {
			r, err := NewReader(bytes.NewReader(sealed), KindFile, key)
			if err != nil {
				t.Fatal(err)
			}
			dst := &lyingWriter{bad: bad, count: c.count, err: c.err}
			n, err := r.WriteTo(dst)
			if !errors.Is(err, c.want) || dst.calls != bad {
				t.Errorf("%s: WriteTo: %v at call %d, want %v at %d", name, err, dst.calls, c.want, bad)
			}
			if rest, err := io.ReadAll(r); err != nil || !bytes.Equal(rest, plain[n:]) {
				t.Errorf("%s: after WriteTo broke at %d: %d bytes, %v", name, n, len(rest), err)
			}
		}
	}
}

// A keyring that could not be read again must not be made.
func TestAddKeepsTheBound(t *testing.T) {
	big := slotWrapper{Slot{Kind: "big", Key: "k", Wrapped: bytes.Repeat([]byte{1}, maxWrapped)}}
	ring, key, err := NewKeyring(ctx, nil, GenerateLocalKey())
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		big.slot.Key = fmt.Sprint("k", n) // the slot of a key takes the place of its last one
		next, err := ring.Add(ctx, nil, key, big)
		if err != nil {
			if n == 0 {
				t.Error(err)
			}
			break
		}
		if _, err := ParseKeyring(next.Bytes()); err != nil {
			t.Fatalf("Add number %d makes %d bytes: %v", n, len(next.Bytes()), err)
		}
		ring = next
	}
	for len(ring.slots) < maxSlots {
		ring.slots = append(ring.slots, ring.slots[0])
	}
	if _, err := ring.Add(ctx, nil, key, GenerateLocalKey()); err == nil || !strings.Contains(err.Error(), "64 slots") {
		t.Errorf("slot 65: %v", err)
	}
}

// slotWrapper wraps to the slot that it holds.
type slotWrapper struct{ slot Slot }

func (w slotWrapper) Wrap(context.Context, []byte, EncryptionContext) (Slot, error) {
	return w.slot, nil
}

func (w slotWrapper) Unwrap(context.Context, Slot, EncryptionContext) ([]byte, error) {
	return nil, ErrNoSlot
}

// Nothing that is used again belongs to a synctest bubble, and inside one no
// goroutine is left: else synctest.Test panics.
func TestBubbles(t *testing.T) {
	key := testKey(t)
	plain := pattern(4 << 20)
	for range 3 {
		synctest.Test(t, func(t *testing.T) {
			sealed := seal(t, key, plain, Workers(3))
			r, err := NewReader(bytes.NewReader(sealed), KindFile, key, Workers(3))
			if err != nil {
				t.Fatal(err)
			}
			r.Read(make([]byte, 100)) // and abandon it
			w, err := NewWriter(io.Discard, KindFile, key, Workers(3))
			if err != nil {
				t.Fatal(err)
			}
			w.Write(plain[:3<<20+5])
			ra, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), KindFile, key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ra.ReadAt(make([]byte, len(plain)), 0); err != nil {
				t.Error(err)
			}
		})
		if got := seal(t, key, plain, Workers(3)); len(got) != int(SealedSize(int64(len(plain)))) {
			t.Errorf("sealed %d bytes", len(got))
		}
	}
}
