package bench

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/vaultpack/vaultpack/bench/internal/arena"
	"github.com/vaultpack/vaultpack/bench/internal/limit"
	"github.com/vaultpack/vaultpack/envelope"
)

const maxSize = 1 << 30

// sizes of plaintext, in bytes.
var sizes = []int{1 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20, maxSize}

func sizeName(n int) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%dG", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%dM", n>>20)
	default:
		return fmt.Sprintf("%dK", n>>10)
	}
}

// Buffers that all benchmarks share. The limit seals into sealedOther, so that
// both sides read and write memory that is equally far away.
var (
	plainArena  = arena.NewRandom(maxSize)
	sealedArena = arena.New(int(envelope.SealedSize(maxSize)))
	sealedOther = arena.New(limit.SealedSize(maxSize))
	openedArena = arena.New(maxSize)
)

// eachCase runs f for all sizes and for one worker and all cores.
func eachCase(b *testing.B, sizes []int, f func(b *testing.B, size, workers int)) {
	for _, size := range sizes {
		b.Run("size="+sizeName(size), func(b *testing.B) {
			if testing.Short() && size > 16<<20 {
				b.Skip("-short")
			}
			b.Run("workers=1", func(b *testing.B) { f(b, size, 1) })
			if all := runtime.GOMAXPROCS(0); all > 1 {
				b.Run("workers=all", func(b *testing.B) { f(b, size, all) })
			}
		})
	}
}

var dataKey = func() *envelope.DataKey {
	_, key, err := envelope.NewKeyring(context.Background(), nil, envelope.GenerateLocalKey())
	if err != nil {
		panic(err)
	}
	return key
}()

// sealed is a sealed file of the first size bytes of plainArena, the keyring
// elsewhere.
func sealed(b testing.TB, size int) []byte {
	b.Helper()
	if len(lastSealed) != int(envelope.SealedSize(int64(size))) {
		dst := &memory{b: sealedArena.Bytes(int(envelope.SealedSize(int64(size))))}
		w, err := envelope.NewWriter(dst, envelope.KindFile, dataKey)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(plainArena.Bytes(size)); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		lastSealed = dst.b
	}
	return lastSealed
}

// limitSealed is the same in the limit's chunks.
func limitSealed(b testing.TB, size int) []byte {
	b.Helper()
	if len(lastLimit) != limit.SealedSize(size) {
		lastLimit = sealedOther.Bytes(limit.SealedSize(size))
		if err := limit.New(runtime.GOMAXPROCS(0)).Seal(lastLimit, plainArena.Bytes(size)); err != nil {
			b.Fatal(err)
		}
	}
	return lastLimit
}

// What the arenas hold now.
var lastSealed, lastLimit []byte

// memory is an io.Writer to a buffer that is large enough.
type memory struct {
	b []byte
	n int
}

func (m *memory) Write(p []byte) (int, error) {
	if len(m.b)-m.n < len(p) {
		return 0, io.ErrShortWrite
	}
	m.n += copy(m.b[m.n:], p)
	return len(p), nil
}

// dropped counts what is written to it.
type dropped struct{ n int64 }

func (d *dropped) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return len(p), nil
}

// plainReader hides every method but Read.
type plainReader struct{ r io.Reader }

func (r plainReader) Read(p []byte) (int, error) { return r.r.Read(p) }

// times makes an operation into n of them.
func times(op func() error) func(n int) error {
	return func(n int) error {
		for range n {
			if err := op(); err != nil {
				return err
			}
		}
		return nil
	}
}

func expect(got, want int64) error {
	if got != want {
		return fmt.Errorf("%d bytes came out, want %d", got, want)
	}
	return nil
}
