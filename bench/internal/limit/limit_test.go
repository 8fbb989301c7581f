package limit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/bench/internal/arena"
)

// A limit that skipped a chunk would be too fast and every ratio too low.
func TestEveryByteIsSealedAndOpened(t *testing.T) {
	for _, size := range []int{1, Chunk - 1, Chunk, Chunk + 1, 5*Chunk + 7, 1 << 20, 5<<20 + 3} {
		for _, workers := range []int{1, 2, 5} {
			t.Run(fmt.Sprintf("size=%d/workers=%d", size, workers), func(t *testing.T) {
				l := New(workers)
				plain := arena.NewRandom(size).Bytes(size)
				sealed := make([]byte, SealedSize(size))
				got := make([]byte, size)
				check := func(what string, want []byte, err error) {
					t.Helper()
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					if !bytes.Equal(got, want) {
						t.Fatalf("%s: not the bytes that were sealed", what)
					}
					clear(got)
				}
				if err := l.Seal(sealed, plain); err != nil {
					t.Fatal(err)
				}
				check("Open", plain, l.Open(got, sealed))
				check("ReadAt", plain, l.ReadAt(got, sealed, 0))

				dir := t.TempDir()
				src, mid, dst := create(t, dir, "src"), create(t, dir, "mid"), create(t, dir, "dst")
				if _, err := src.Write(plain); err != nil {
					t.Fatal(err)
				}
				if err := l.SealFile(mid, src, size); err != nil {
					t.Fatal(err)
				}
				if b, err := os.ReadFile(mid.Name()); err != nil || !bytes.Equal(b, sealed) {
					t.Fatalf("SealFile wrote other bytes than Seal (%v)", err)
				}
				err := l.OpenFile(dst, mid, size)
				got, _ = os.ReadFile(dst.Name())
				check("OpenFile", plain, err)

				sealed[len(sealed)-1] ^= 1
				if l.Open(nil, sealed) == nil {
					t.Error("the last chunk's tag is not looked at")
				}
			})
		}
	}
}

func TestReadAtRanges(t *testing.T) {
	const size = 3*Chunk + 100
	l := New(1)
	plain := arena.NewRandom(size).Bytes(size)
	sealed := make([]byte, SealedSize(size))
	if err := l.Seal(sealed, plain); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int{0, 1, Chunk - 1, Chunk, 2*Chunk + 5, size - 1} {
		for _, n := range []int{1, 4096, Chunk, Chunk + 1, 2 * Chunk} {
			p := make([]byte, n)
			err := l.ReadAt(p, sealed, off)
			if past := off+n > size; (err != nil || !bytes.Equal(p, plain[off:off+n])) != past {
				if !past || err == nil {
					t.Errorf("%d bytes at %d: %v", n, off, err)
				}
			}
		}
	}
}

func create(t *testing.T, dir, name string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
