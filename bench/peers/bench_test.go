package peers

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/vaultpack/vaultpack/bench/internal/arena"
	"github.com/vaultpack/vaultpack/bench/internal/limit"
	"github.com/vaultpack/vaultpack/bench/internal/versus"
)

const maxSize = 1 << 30

var sizes = []struct {
	name string
	n    int
}{{"1M", 1 << 20}, {"1G", maxSize}}

// Every peer's overhead is far below a sixteenth.
const maxSealed = maxSize + maxSize/16

var (
	plainArena  = arena.NewRandom(maxSize)
	sealedArena = arena.New(maxSealed) // the peer's
	oursArena   = arena.New(maxSealed)
	limitArena  = arena.New(limit.SealedSize(maxSize))
)

// BenchmarkSeal seals from memory to a writer that drops what it gets. Every
// peer runs in turns with vaultpack and the limit.
func BenchmarkSeal(b *testing.B) {
	eachPeer(b, func(b *testing.B, p peer, size int) {
		plain, l := plainArena.Bytes(size), limit.New(runtime.GOMAXPROCS(0))
		compare(b, p, size,
			func(p peer) error { return p.seal(io.Discard, plain) },
			func() error { return l.Seal(nil, plain) })
	})
}

// BenchmarkOpen opens from memory to a writer that drops what it gets.
func BenchmarkOpen(b *testing.B) {
	eachPeer(b, func(b *testing.B, p peer, size int) {
		l := limit.New(runtime.GOMAXPROCS(0))
		bare := limitArena.Bytes(limit.SealedSize(size))
		if err := l.Seal(bare, plainArena.Bytes(size)); err != nil {
			b.Fatal(err)
		}
		sealed := map[string][]byte{
			p.name: sealedBy(b, p, sealedArena, size),
		}
		if p.name != vaultpack.name {
			sealed[vaultpack.name] = sealedBy(b, vaultpack, oursArena, size)
		}
		compare(b, p, size,
			func(p peer) error {
				return exactly(int64(size), func(dst io.Writer) error { return p.open(dst, sealed[p.name]) })
			},
			func() error { return l.Open(nil, bare) })
	})
}

func eachPeer(b *testing.B, f func(b *testing.B, p peer, size int)) {
	for _, size := range sizes {
		b.Run("size="+size.name, func(b *testing.B) {
			if testing.Short() && size.n > 16<<20 {
				b.Skip("-short")
			}
			for _, p := range append([]peer{vaultpack}, peers()...) {
				b.Run("peer="+p.name, func(b *testing.B) { f(b, p, size.n) })
			}
		})
	}
}

func compare(b *testing.B, p peer, size int, run func(peer) error, bare func() error) {
	others := []versus.Side{{Name: versus.LimitName, Run: times(bare)}}
	if p.name != vaultpack.name {
		others = append(others, versus.Side{Name: vaultpack.name, Run: times(func() error { return run(vaultpack) })})
	}
	versus.RunSettled(b, size, times(func() error { return run(p) }), others...)
}

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

func sealedBy(b *testing.B, p peer, a *arena.Arena, size int) []byte {
	dst := &memory{b: a.Bytes(min(maxSealed, size+size/16+4096))}
	if err := p.seal(dst, plainArena.Bytes(size)); err != nil {
		b.Fatal(err)
	}
	return dst.b[:dst.n]
}

// exactly checks that f writes n bytes.
func exactly(n int64, f func(io.Writer) error) error {
	var c counter
	if err := f(&c); err != nil {
		return err
	}
	if int64(c) != n {
		return fmt.Errorf("%d bytes came out, want %d", c, n)
	}
	return nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

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
