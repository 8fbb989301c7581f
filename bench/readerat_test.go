package bench

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vaultpack/vaultpack/bench/internal/limit"
	"github.com/vaultpack/vaultpack/bench/internal/versus"
	"github.com/vaultpack/vaultpack/envelope"
)

// BenchmarkReaderAt reads ranges of a sealed file in memory that is open. One
// operation is one ReadAt. With workers=all that many goroutines read at once;
// but reads of 16 MiB have one caller, since such a call uses all cores by
// itself.
//
// The limit opens the chunks that the range touches and copies the range out,
// whole chunks straight into place.
func BenchmarkReaderAt(b *testing.B) {
	for _, c := range []struct {
		name   string
		read   int
		random bool
		alone  bool // one caller; the call itself may use all cores
	}{
		{"read=seq64K", 64 << 10, false, false},
		{"read=seq16M", 16 << 20, false, true},
		{"read=rand4K", 4 << 10, true, false},
		{"read=rand64K", 64 << 10, true, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			eachCase(b, []int{16 << 20, maxSize}, func(b *testing.B, size, workers int) {
				if c.alone && workers == 1 {
					b.Skip("one call uses all cores")
				}
				in, limitIn := sealed(b, size), limitSealed(b, size)
				r, err := envelope.NewReaderAt(bytes.NewReader(in), int64(len(in)), envelope.KindFile, dataKey)
				if err != nil {
					b.Fatal(err)
				}
				callers, inner := workers, 1
				if c.alone {
					callers, inner = 1, workers
				}
				offsets := offsets(size, c.read, c.random)
				l := limit.New(inner)
				versus.Run(b, c.read,
					callersRead(callers, c.read, offsets, func(p []byte, off int) error {
						_, err := r.ReadAt(p, int64(off))
						if err == io.EOF && off+len(p) == size {
							err = nil
						}
						return err
					}),
					versus.Side{Name: versus.LimitName, Run: callersRead(callers, c.read, offsets, func(p []byte, off int) error {
						return l.ReadAt(p, limitIn, off)
					})})
			})
		})
	}
}

// offsets is an endless list of where to read, the same for both sides: in order,
// or anywhere.
func offsets(size, read int, random bool) func(i int) int {
	if !random {
		n := size / read
		return func(i int) int { return i % n * read }
	}
	list := make([]int, 1<<16)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range list {
		list[i] = r.IntN(size - read + 1)
	}
	return func(i int) int { return list[i%len(list)] }
}

// callersRead shares n reads out among goroutines, each with a buffer of its own.
func callersRead(callers, size int, offset func(int) int, read func(p []byte, off int) error) func(n int) error {
	bufs := make([][]byte, callers)
	for i := range bufs {
		bufs[i] = make([]byte, size)
	}
	var done atomic.Int64 // over all calls, so that they do not all read the start
	return func(n int) error {
		errs := make([]error, callers)
		end := done.Load() + int64(n)
		work := func(c int) {
			for i := done.Add(1); i <= end; i = done.Add(1) {
				if errs[c] = read(bufs[c], offset(int(i-1))); errs[c] != nil {
					return
				}
			}
		}
		var wg sync.WaitGroup
		for c := 1; c < callers; c++ {
			wg.Go(func() { work(c) })
		}
		work(0)
		wg.Wait()
		done.Store(end)
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}
}
