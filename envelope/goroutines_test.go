package envelope

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// working lists the goroutines that run code of this package's streams, beside
// the caller's own.
func working() string {
	b := make([]byte, 1<<20)
	b = b[:runtime.Stack(b, true)]
	var out []string
	for g := range strings.SplitSeq(string(b), "\n\n") {
		if strings.Contains(g, "envelope.(*crew)") || strings.Contains(g, "envelope.(*ReaderAt)") {
			out = append(out, g)
		}
	}
	return strings.Join(out, "\n\n")
}

// No goroutine outlives Close, an error, or an abandoned stream: each computes
// its segment and ends, whoever may have stopped waiting for it.
func TestNoGoroutineStays(t *testing.T) {
	key := testKey(t)
	plain := pattern(6<<20 + 5)
	sealed := seal(t, key, plain)
	bad := bytes.Clone(sealed)
	bad[HeaderSize+sealedSegment+100] ^= 1
	write := func(dst io.Writer) *Writer {
		w, err := NewWriter(dst, KindFile, key, Workers(5))
		if err != nil {
			t.Fatal(err)
		}
		w.Write(plain[:100]) // so that the rest goes through the buffers
		w.Write(plain[100:])
		return w
	}
	read := func(src io.Reader, n int64) *Reader {
		r, err := NewReader(src, KindFile, key, Workers(5))
		if err != nil {
			t.Fatal(err)
		}
		io.CopyN(io.Discard, r, n)
		return r
	}
	for what, f := range map[string]func(){
		"a closed Writer":      func() { write(io.Discard).Close() },
		"an abandoned Writer":  func() { write(io.Discard) },
		"a broken Writer":      func() { write(&lyingWriter{bad: 3, count: func(int) int { return 0 }, err: errBroken}) },
		"a Writer's source":    func() { write(io.Discard).ReadFrom(iotest.ErrReader(errBroken)) },
		"a Reader at its end":  func() { read(bytes.NewReader(sealed), int64(len(plain))+1) },
		"an abandoned Reader":  func() { read(bytes.NewReader(sealed), 2<<20) },
		"a Reader that failed": func() { read(bytes.NewReader(bad), 3<<20) },
		"a Reader's broken source": func() {
			read(io.MultiReader(bytes.NewReader(sealed[:4<<20]), iotest.ErrReader(errBroken)), 6<<20)
		},
		"ReaderAt": func() {
			r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), KindFile, key)
			if err != nil {
				t.Fatal(err)
			}
			r.ReadAt(make([]byte, len(plain)), 0)
		},
		"a ReaderAt that failed": func() {
			r, err := NewReaderAt(bytes.NewReader(bad), int64(len(bad)), KindFile, key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.ReadAt(make([]byte, len(plain)), 0); err == nil {
				t.Error("the changed byte was not met")
			}
		},
	} {
		f()
		left := ""
		for wait := time.Millisecond; wait < 4*time.Second; wait *= 2 {
			if left = working(); left == "" {
				break
			}
			time.Sleep(wait)
		}
		if left != "" {
			t.Errorf("%s leaves\n%s", what, left)
		}
	}
	// The check itself must see one.
	stop := make(chan struct{})
	c := &crew{run: func(*job) error { <-stop; return nil }}
	c.limit(optionsOf(Workers(2)))
	j := newJob()
	c.start(j)
	if working() == "" {
		t.Error("a goroutine that stays is not seen")
	}
	close(stop)
	c.wait(j)
}
