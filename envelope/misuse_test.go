package envelope

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/vaultpack/vaultpack/internal/race"
)

// complete reports whether a sealed file opens to its end.
func complete(key *DataKey, sealed []byte) bool {
	r, err := NewReader(bytes.NewReader(sealed), KindFile, key)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r)
	return err == nil
}

// apart calls f in a goroutine of its own, which may panic or end by
// runtime.Goexit, and gives f's panic.
func apart(f func()) (panicked any) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		f()
	}()
	<-done
	return panicked
}

// errNotReturned is what an error is before it is returned, and after a panic.
var errNotReturned = errors.New("not returned")

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

type readAtFunc func([]byte, int64) (int, error)

func (f readAtFunc) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// malice is what a source answers once it has given some bytes.
var malice = map[string]struct {
	read readFunc
	want error // nil for a panic or runtime.Goexit
}{
	"an error":             {func([]byte) (int, error) { return 0, errBroken }, errBroken},
	"bytes and an error":   {func(p []byte) (int, error) { return len(p), errBroken }, errBroken},
	"nothing, for ever":    {func([]byte) (int, error) { return 0, nil }, io.ErrNoProgress},
	"too many":             {func(p []byte) (int, error) { return len(p) + 1, nil }, errInvalidRead},
	"far too many":         {func([]byte) (int, error) { return math.MaxInt, nil }, errInvalidRead},
	"too many, at its end": {func(p []byte) (int, error) { return len(p) + 1, io.EOF }, errInvalidRead},
	"less than none":       {func([]byte) (int, error) { return -1, nil }, errInvalidRead},
	"less, at its end":     {func([]byte) (int, error) { return math.MinInt, io.EOF }, errInvalidRead},
	"a cut connection":     {func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }, io.ErrUnexpectedEOF},
	"a panic":              {func([]byte) (int, error) { panic("source") }, nil},
	"the end of its goroutine": {func([]byte) (int, error) {
		runtime.Goexit()
		return 0, nil
	}, nil},
}

// bad is a source that turns bad once, after n bytes, and then ends as if all
// were well.
func bad(n int, how readFunc) io.Reader {
	left, turned := n, false
	return readFunc(func(p []byte) (int, error) {
		switch {
		case left > 0:
			m := min(left, len(p), 100_000)
			left -= m
			return m, nil
		case !turned:
			n, err := how(p)
			turned = n != 0 || err != nil
			return n, err
		}
		return 0, io.EOF
	})
}

// Whatever a source does but end well, its file never opens to the end, though a
// Close is deferred, and however it is copied.
func TestSourcesOfEveryMalice(t *testing.T) {
	key := testKey(t)
	ways := map[string]func(*Writer, io.Reader) error{
		"ReadFrom": func(w *Writer, r io.Reader) error { _, err := w.ReadFrom(r); return err },
		"io.Copy":  func(w *Writer, r io.Reader) error { _, err := io.Copy(w, r); return err },
		"bufio":    func(w *Writer, r io.Reader) error { _, err := io.Copy(w, bufio.NewReaderSize(r, 70_001)); return err },
		"limited":  func(w *Writer, r io.Reader) error { _, err := io.Copy(w, io.LimitReader(r, 1<<40)); return err },
		"several": func(w *Writer, r io.Reader) error {
			_, err := io.Copy(w, io.MultiReader(strings.NewReader("x"), r))
			return err
		},
	}
	for name, m := range malice {
		for _, n := range race.Few(2, []int{0, 5, SegmentSize, SegmentSize + 5, 3 * SegmentSize}) {
			for way, copyTo := range ways {
				for _, workers := range race.Few(2, []int{1, 3}) {
					name := fmt.Sprintf("%s after %d bytes, %s, %d workers", name, n, way, workers)
					var out bytes.Buffer
					var err error
					closed := errNotReturned
					apart(func() {
						w, werr := NewWriter(&out, KindFile, key, Workers(workers))
						if werr != nil {
							t.Error(werr)
							return
						}
						defer func() { closed = w.Close() }()
						err = copyTo(w, bad(n, m.read))
					})
					if m.want != nil && !errors.Is(err, m.want) && way != "bufio" { // which may panic, and has texts of its own
						t.Errorf("%s: %v, want %v", name, err, m.want)
					}
					if closed == nil || m.want != nil && err != nil && closed != err {
						t.Errorf("%s: Close: %v after %v", name, closed, err)
					}
					if complete(key, out.Bytes()) {
						t.Errorf("%s: the file opens to its end", name)
					}
				}
			}
			var out bytes.Buffer
			local := GenerateLocalKey()
			err := errNotReturned
			apart(func() { _, err = SealFrom(ctx, &out, bad(n, m.read), nil, local) })
			if r, operr := Open(ctx, &out, nil, local); err == nil || operr == nil {
				if _, rerr := io.Copy(io.Discard, r); err == nil || rerr == nil {
					t.Errorf("%s after %d bytes: SealFrom: %v, then %v", name, n, err, rerr)
				}
			}
		}
	}
}

// Whatever a sealed file's source does but end well is an error of it, sticky,
// and never io.EOF nor ErrAuthentication.
func TestSealedSourcesOfEveryMalice(t *testing.T) {
	key := testKey(t)
	sealed := seal(t, key, pattern(3<<20))
	for name, m := range malice {
		for _, n := range []int{0, HeaderSize - 1, HeaderSize, HeaderSize + 100, HeaderSize + sealedSegment, HeaderSize + 2*sealedSegment + 5} {
			for _, workers := range []int{1, 3} {
				name := fmt.Sprintf("%s after %d bytes, %d workers", name, n, workers)
				var r *Reader
				err := errNotReturned
				p := apart(func() {
					head, rest := bytes.NewReader(sealed[:n]), bad(0, m.read)
					src := readFunc(func(p []byte) (int, error) {
						if head.Len() > 0 {
							return head.Read(p)
						}
						return rest.Read(p)
					})
					var rerr error
					if r, rerr = NewReader(src, KindFile, key, Workers(workers)); rerr != nil {
						err = rerr
						return
					}
					_, err = io.Copy(io.Discard, r)
				})
				if n >= HeaderSize && m.want == errBroken && errors.Is(err, ErrAuthentication) {
					continue // the bytes that come with the error come first
				}
				if m.want != nil && (!errors.Is(err, m.want) || errors.Is(err, ErrAuthentication) || p != nil) {
					t.Errorf("%s: %v, %v", name, err, p)
				}
				if r == nil {
					continue
				}
				if got, again := r.Read(make([]byte, 10)); got != 0 || m.want != nil && again != err || m.want == nil && !errors.Is(again, ErrInterrupted) {
					t.Errorf("%s: %d, %v after %v", name, got, again, err)
				}
			}
		}
	}
}

// A panic of a source that is read in parallel comes to the caller, who can
// recover it, and nothing is complete after it.
func TestPanicsComeToTheCaller(t *testing.T) {
	key := testKey(t)
	plain := pattern(6 << 20)
	sealed := seal(t, key, plain)
	value := &struct{ s string }{"the panic's own value"}
	ends := map[string]func(){"panic": func() { panic(value) }, "goexit": runtime.Goexit}
	for name, end := range ends {
		source := func(b []byte, at int64) io.ReaderAt {
			return readAtFunc(func(p []byte, off int64) (int, error) {
				if off >= at {
					end()
				}
				return copy(p, b[off:]), nil
			})
		}
		for _, workers := range []int{1, 2, 5} {
			for _, at := range []int64{0, 1 << 20, 5 << 20} {
				name := fmt.Sprintf("%s at %d with %d workers", name, at, workers)
				var out bytes.Buffer
				var err error
				closed := errNotReturned
				p := apart(func() {
					w, _ := NewWriter(&out, KindFile, key, Workers(workers))
					defer func() { closed = w.Close() }()
					_, err = w.ReadFrom(io.NewSectionReader(source(plain, at), 0, int64(len(plain))))
				})
				if (p == any(value)) != (name[0] == 'p') || closed == nil || complete(key, out.Bytes()) {
					t.Errorf("Writer, %s: %v, Close: %v, ReadFrom: %v", name, p, closed, err)
				}
				var r *Reader
				p = apart(func() {
					r, err = NewReader(io.NewSectionReader(source(sealed, at+HeaderSize), 0, int64(len(sealed))), KindFile, key, Workers(workers))
					_, err = io.Copy(io.Discard, r)
				})
				if (p == any(value)) != (name[0] == 'p') {
					t.Errorf("Reader, %s: %v", name, p)
				}
				if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrInterrupted) {
					t.Errorf("Reader, %s: then %v", name, err)
				}
				ra, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), KindFile, key, Workers(workers))
				if err != nil {
					t.Fatal(err)
				}
				ra.src = newSource(source(sealed, at+HeaderSize))
				got := bytes.Repeat([]byte{1}, len(plain))
				err = nil
				p = apart(func() { _, err = ra.ReadAt(got, 0) })
				if (p == any(value)) != (name[0] == 'p') || bytes.Contains(got, plain[at+100:at+120]) {
					t.Errorf("ReaderAt, %s: %v, %v", name, p, err)
				}
			}
		}
	}
}

// A destination that panics, or ends its goroutine, has no complete file.
func TestDestinationsThatUnwind(t *testing.T) {
	key := testKey(t)
	plain := pattern(4<<20 + 5)
	for name, end := range map[string]func(){"panic": func() { panic("destination") }, "goexit": runtime.Goexit} {
		for bad := 2; bad <= 6; bad++ { // the header was the first write
			for how, fill := range map[string]func(*Writer){
				"Write":    func(w *Writer) { w.Write(plain) },
				"pieces":   func(w *Writer) { w.Write(plain[:100]); w.Write(plain[100:]) },
				"ReadFrom": func(w *Writer) { w.ReadFrom(iotest.DataErrReader(bytes.NewReader(plain))) },
				"parallel": func(w *Writer) { w.ReadFrom(io.NewSectionReader(bytes.NewReader(plain), 0, int64(len(plain)))) },
			} {
				name := fmt.Sprintf("%s at write %d, %s", name, bad, how)
				var out bytes.Buffer
				calls := 0
				dst := writeFunc(func(p []byte) (int, error) {
					if calls++; calls == bad {
						end()
					}
					return out.Write(p)
				})
				var w *Writer
				closed := errNotReturned
				apart(func() {
					w, _ = NewWriter(dst, KindFile, key, Workers(3))
					defer func() { closed = w.Close() }()
					fill(w)
					if bad == 6 {
						w.Close() // what writes the last segment
					}
				})
				again := w.Close()
				if closed == nil || again == nil || closed != errNotReturned && again != closed || complete(key, out.Bytes()) || calls != bad {
					t.Errorf("%s: Close: %v, then %v; %d calls", name, closed, again, calls)
				}
				if _, err := w.Write(plain); err != again {
					t.Errorf("%s: then Write: %v", name, err)
				}
			}
		}
	}
}

// What writes into its p does so to bytes that nobody reads any more.
func TestDestinationsThatWriteIntoWhatTheyGet(t *testing.T) {
	key := testKey(t)
	plain := pattern(5<<20 + 5)
	var kept [][]byte
	scribble := func(to *bytes.Buffer) io.Writer {
		return writeFunc(func(p []byte) (int, error) {
			n, err := to.Write(p)
			clear(p)
			kept = append(kept, p)
			return n, err
		})
	}
	var sealed, opened bytes.Buffer
	w, err := NewWriter(scribble(&sealed), KindFile, key, Workers(3))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(plain)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(sealed.Bytes()), KindFile, key, Workers(3))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.WriteTo(scribble(&opened)); err != nil || !bytes.Equal(opened.Bytes(), plain) || len(kept) != 13 {
		t.Errorf("%d bytes, %v, %d writes", opened.Len(), err, len(kept))
	}
}

// A Close that runs because its owner unwinds does not complete a file, though
// nothing came through the Writer; one in a file of the unwinding's own does.
func TestOwnersUnwind(t *testing.T) {
	key := testKey(t)
	for name, end := range map[string]func(){"panic": func() { panic("owner") }, "goexit": runtime.Goexit,
		"nil": func() { var p *int; *p++ }} {
		for how, deferred := range map[string]func(w *Writer) error{
			"a closure": func(w *Writer) error { return w.Close() },
			"deep": func(w *Writer) (err error) {
				var deep func(n int)
				deep = func(n int) {
					if n == 0 {
						err = w.Close()
						return
					}
					deep(n - 1)
				}
				deep(500)
				return err
			},
		} {
			var out, own bytes.Buffer
			var closed, ownClosed error
			apart(func() {
				w, _ := NewWriter(&out, KindFile, key)
				defer func() {
					closed = deferred(w)
					report, _ := NewWriter(&own, KindFile, key)
					report.Write([]byte("what led to the panic"))
					ownClosed = report.Close()
				}()
				w.Write(pattern(100))
				end()
			})
			if !errors.Is(closed, ErrInterrupted) || complete(key, out.Bytes()) {
				t.Errorf("%s, %s: Close: %v", name, how, closed)
			}
			if ownClosed != nil || !complete(key, own.Bytes()) {
				t.Errorf("%s, %s: a file of the deferred function's own: %v", name, how, ownClosed)
			}
		}
		var out bytes.Buffer
		apart(func() {
			w, _ := NewWriter(&out, KindFile, key)
			defer w.Close()
			w.Write(pattern(100))
			end()
		})
		if complete(key, out.Bytes()) {
			t.Errorf("%s: defer w.Close() completes the file", name)
		}
	}
}

// A Writer that gets its contents from a Reader learns of the Reader's failure.
func TestReaderIntoWriter(t *testing.T) {
	a, b := testKey(t), testKey(t)
	sealed := seal(t, a, pattern(5<<20))
	broken := bytes.Clone(sealed)
	broken[HeaderSize+2*sealedSegment+100] ^= 1
	for name, src := range map[string]func() io.Reader{
		"cut":                func() io.Reader { return bytes.NewReader(sealed[:3<<20]) },
		"changed":            func() io.Reader { return bytes.NewReader(broken) },
		"cut off at a limit": func() io.Reader { return io.LimitReader(bytes.NewReader(sealed), 3<<20) },
		"a broken line":      func() io.Reader { return io.MultiReader(bytes.NewReader(sealed[:3<<20]), iotest.ErrReader(errBroken)) },
		"a panic": func() io.Reader {
			return io.MultiReader(bytes.NewReader(sealed[:3<<20]), readFunc(func([]byte) (int, error) { panic("source") }))
		},
		"goexit": func() io.Reader {
			return io.MultiReader(bytes.NewReader(sealed[:3<<20]), readFunc(func([]byte) (int, error) { runtime.Goexit(); return 0, nil }))
		},
	} {
		for how, move := range map[string]func(*Writer, *Reader){
			"io.Copy":     func(w *Writer, r *Reader) { io.Copy(w, r) },
			"WriteTo":     func(w *Writer, r *Reader) { r.WriteTo(w) },
			"ReadFrom":    func(w *Writer, r *Reader) { w.ReadFrom(r) },
			"MultiReader": func(w *Writer, r *Reader) { io.Copy(w, io.MultiReader(r, strings.NewReader("more"))) },
			"twice": func(w *Writer, r *Reader) {
				defer io.Copy(w, r)
				io.Copy(io.Discard, r)
			},
		} {
			var out bytes.Buffer
			var closed error
			apart(func() {
				r, err := NewReader(src(), KindFile, a)
				if err != nil {
					t.Error(err)
					return
				}
				w, _ := NewWriter(&out, KindFile, b)
				defer func() { recover() }()
				func() {
					defer func() { closed = w.Close() }()
					defer func() { recover() }() // so that the Writer alone can know
					move(w, r)
				}()
			})
			if closed == nil && out.Len() > HeaderSize && complete(b, out.Bytes()) {
				t.Errorf("%s, %s: the file is complete", name, how)
			}
		}
	}
	var out bytes.Buffer
	w, _ := NewWriter(&out, KindFile, b)
	r, _ := NewReader(bytes.NewReader(sealed), KindFile, a)
	if n, err := io.Copy(w, r); n != 5<<20 || err != nil || w.Close() != nil || !complete(b, out.Bytes()) {
		t.Errorf("a sound one: %d, %v", n, err)
	}
}

func TestAbort(t *testing.T) {
	key := testKey(t)
	for _, n := range []int{0, 5, SegmentSize, 3<<20 + 1} {
		var out bytes.Buffer
		w, _ := NewWriter(&out, KindFile, key)
		w.Write(pattern(n))
		w.Abort()
		w.Abort()
		if err := w.Close(); err != ErrAborted || complete(key, out.Bytes()) || w.key.bytes() != nil {
			t.Errorf("%d bytes: Close after Abort: %v", n, err)
		}
		if _, err := w.Write([]byte("x")); err != ErrAborted {
			t.Errorf("Write after Abort: %v", err)
		}
		out.Reset()
		w, _ = NewWriter(&out, KindFile, key)
		w.Write(pattern(n))
		err := w.Close()
		w.Abort()
		if err != nil || w.Close() != nil || !complete(key, out.Bytes()) {
			t.Errorf("%d bytes: Abort after Close: %v", n, err)
		}
	}
}

// Two calls at once, or one from within another, are refused, and what was
// refused is missing: the file is not completed.
func TestUsedByTwo(t *testing.T) {
	key := testKey(t)
	var out bytes.Buffer
	var w *Writer
	var inner error
	dst := writeFunc(func(p []byte) (int, error) {
		if w != nil && inner == nil {
			_, inner = w.Write([]byte("more"))
		}
		return out.Write(p)
	})
	w, err := NewWriter(dst, KindFile, key)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(pattern(2 << 20))
	if err := w.Close(); inner == nil || !errors.Is(err, errConcurrent) || complete(key, out.Bytes()) {
		t.Errorf("Close: %v after %v", err, inner)
	}
	var r *Reader
	r, err = NewReader(io.MultiReader(bytes.NewReader(seal(t, key, nil)[:HeaderSize]), readFunc(func([]byte) (int, error) {
		_, inner = r.Read(make([]byte, 1))
		return 0, errBroken
	})), KindFile, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, errBroken) || !errors.Is(inner, errConcurrent) {
		t.Errorf("Read: %v, within it %v", err, inner)
	}
}

// A ReaderAt that reads short without an error, or more than there is room for,
// is broken; that is no tampering.
func TestReaderAtsOfEveryMalice(t *testing.T) {
	key := testKey(t)
	plain := pattern(3<<20 + 40000)
	sealed := seal(t, key, plain)
	for name, c := range map[string]struct {
		n    func(int) int
		err  error
		want error
	}{
		"one short":       {func(n int) int { return n - 1 }, nil, errShortRead},
		"nothing":         {func(int) int { return 0 }, nil, errShortRead},
		"one too many":    {func(n int) int { return n + 1 }, nil, errInvalidRead},
		"too many, EOF":   {func(n int) int { return n + 1 }, io.EOF, errInvalidRead},
		"less than none":  {func(int) int { return -1 }, nil, errInvalidRead},
		"all, an error":   {func(n int) int { return n }, errBroken, errBroken},
		"short, an error": {func(n int) int { return n - 1 }, errBroken, errBroken},
	} {
		for _, workers := range []int{1, 3} {
			broken := false
			src := readAtFunc(func(p []byte, off int64) (int, error) {
				n, err := bytes.NewReader(sealed).ReadAt(p, off)
				if broken {
					return c.n(len(p)), c.err
				}
				return n, err
			})
			r, err := NewReaderAt(src, int64(len(sealed)), KindFile, key, Workers(workers))
			if err != nil {
				t.Fatal(err)
			}
			broken = true
			p := make([]byte, len(plain))
			if n, err := r.ReadAt(p, 0); n != 0 || !errors.Is(err, c.want) || errors.Is(err, ErrAuthentication) {
				t.Errorf("%s: %d, %v", name, n, err)
			}
			_, err = NewReaderAt(src, int64(len(sealed)), KindFile, key)
			if err == nil || errors.Is(err, ErrAuthentication) || errors.Is(err, ErrFormat) {
				t.Errorf("%s: NewReaderAt: %v", name, err)
			}
			broken = false
			if n, err := r.ReadAt(p, 0); n != len(p) || err != nil || !bytes.Equal(p, plain) {
				t.Errorf("%s: then %d, %v", name, n, err)
			}
			// The same of what a Writer seals and a Reader opens at several offsets.
			broken = true
			var out bytes.Buffer
			w, _ := NewWriter(&out, KindFile, key, Workers(workers))
			if _, err := w.ReadFrom(io.NewSectionReader(src, 0, int64(len(sealed)))); !errors.Is(err, c.want) || w.Close() == nil || complete(key, out.Bytes()) {
				t.Errorf("%s: ReadFrom: %v", name, err)
			}
			broken = false
			section := io.NewSectionReader(src, 0, int64(len(sealed)))
			rd, err := NewReader(section, KindFile, key, Workers(workers))
			if err != nil {
				t.Fatal(err)
			}
			broken = true
			if _, err := io.Copy(io.Discard, rd); !errors.Is(err, c.want) || errors.Is(err, ErrAuthentication) {
				t.Errorf("%s: Reader: %v", name, err)
			}
		}
	}
}

// Sections of memory at odd places are what they are.
func TestOddSections(t *testing.T) {
	key := testKey(t)
	for _, s := range []*io.SectionReader{
		io.NewSectionReader(bytes.NewReader(pattern(3<<20)), -5, 3<<20),
		io.NewSectionReader(bytes.NewReader(pattern(3<<20)), 4<<20, 3<<20),
		io.NewSectionReader((*bytes.Reader)(nil), -5, 10),
	} {
		var out bytes.Buffer
		w, _ := NewWriter(&out, KindFile, key)
		func() {
			defer func() { recover() }() // of a nil *bytes.Reader
			w.ReadFrom(s)
		}()
		if w.Close() == nil && complete(key, out.Bytes()) && s.Size() < 20 {
			t.Error("a section of nothing was read whole")
		}
	}
}

func TestRangesOverflow(t *testing.T) {
	key := testKey(t)
	h := newHeader(KindFile, key, nil)
	for _, c := range [][3]int64{
		{math.MinInt64, 0, 1}, {math.MinInt64, math.MinInt64, math.MinInt64}, {-1, 0, 0}, {10, math.MaxInt64, 1}, {10, 1, math.MaxInt64},
		{math.MaxInt64, math.MaxInt64, math.MaxInt64}, {math.MaxInt64, 0, 1}, {maxSize + 1, 0, 1}, {10, 11, 0}, {10, -1, 1}, {10, 1, -1},
	} {
		if r, err := h.OpenRange(bytes.NewReader(nil), key, c[0], c[1], c[2]); err == nil || r != nil {
			t.Errorf("OpenRange took %d", c)
		}
		if head, off, n := ChunkRange(c[0], c[1], c[2]); head != 0 || off != 0 || n != 0 {
			t.Errorf("ChunkRange of %d: %d, %d, %d", c, head, off, n)
		}
		if off, n := SegmentRange(c[0], c[1], c[2]); off != 0 || n != 0 {
			t.Errorf("SegmentRange of %d: %d, %d", c, off, n)
		}
	}
	for _, size := range []int64{-1, math.MinInt64, maxSize + 1, math.MaxInt64} {
		if got := SealedSize(size); got != -1 {
			t.Errorf("SealedSize(%d) is %d", size, got)
		}
	}
	if got, err := PlaintextSize(SealedSize(maxSize)); got != maxSize || err != nil {
		t.Errorf("the largest: %d, %v", got, err)
	}
	for _, sealed := range []int64{math.MinInt64, -1, math.MaxInt64, math.MaxInt64 - 64} {
		if got, err := PlaintextSize(sealed); err == nil {
			t.Errorf("PlaintextSize(%d) is %d", sealed, got)
		}
		if _, err := OpenAt(ctx, bytes.NewReader(nil), sealed, nil, GenerateLocalKey()); err == nil {
			t.Errorf("OpenAt took %d", sealed)
		}
		if _, err := NewReaderAt(bytes.NewReader(seal(t, key, nil)), sealed, KindFile, key); err == nil {
			t.Errorf("NewReaderAt took %d", sealed)
		}
	}
	for _, o := range [][]Option{{Memory(math.MaxInt64)}, {Workers(math.MaxInt)}, {Workers(math.MaxInt), Memory(math.MaxInt64)},
		{Workers(math.MinInt), Memory(math.MinInt64)}, {Workers(0)}} {
		if workers, depth := optionsOf(o...).limits(); workers < 1 || depth < workers || workers > maxWorkers || workers*SegmentSize/SegmentSize != workers {
			t.Errorf("%d workers, %d deep", workers, depth)
		}
		if !complete(key, seal(t, key, pattern(3<<20), o...)) {
			t.Error("what was sealed does not open")
		}
	}
}

// go vet reports copies of what must not be copied.
func TestVetSeesCopies(t *testing.T) {
	dir, err := os.MkdirTemp(".", "vet")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	types := []string{"DataKey", "LocalKey", "Passphrase", "Identity", "Writer", "Reader", "ReaderAt"}
	src := "package copies\n\nimport \"github.com/vaultpack/vaultpack/envelope\"\n"
	for _, name := range types {
		src += fmt.Sprintf("\nfunc of%s(p *envelope.%s) any { c := *p; return &c }\n", name, name)
	}
	if err := os.WriteFile(filepath.Join(dir, "copies.go"), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "vet", "-copylocks", "./"+dir).CombinedOutput()
	if err == nil {
		t.Error("go vet finds nothing")
	}
	for _, name := range types {
		if !strings.Contains(string(out), "envelope."+name) {
			t.Errorf("go vet does not see copies of %s:\n%s", name, out)
		}
	}
}
