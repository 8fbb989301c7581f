package view_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vaultpack/vaultpack/dataset/view"
	"github.com/vaultpack/vaultpack/internal/treetest"
)

// counted counts what is read. Like a response of S3, it cannot be sought in.
type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Small files in an order of chance, of more contents than are kept, in a directory and
// behind 5 ms of latency.
func BenchmarkRandomFiles(b *testing.B) {
	const files, size = 4000, 100_000
	v, _, store := sealed(b, 0, func(src string) {
		for i := range files {
			write(b, filepath.Join(src, fmt.Sprintf("%02d/%04d", i%20, i)), treetest.Bytes(size, byte(i)))
		}
	})
	for _, latency := range []time.Duration{0, 5 * time.Millisecond} {
		for _, readers := range []int{1, 16} {
			b.Run(fmt.Sprintf("latency=%v/readers=%d", latency, readers), func(b *testing.B) {
				var fetched atomic.Int64
				if latency > 0 {
					store.Spoil(func(_ string, _ int64, r io.ReadCloser) (io.ReadCloser, error) {
						time.Sleep(latency)
						return counted{r, &fetched}, nil
					})
					defer store.Spoil(nil)
				}
				f := open(b, v, view.Options{Memory: 32 << 20})
				must2(f.ReadDir("00"))
				b.SetBytes(size)
				b.ResetTimer()
				var next atomic.Int64
				var all sync.WaitGroup
				for range readers {
					all.Go(func() {
						for next.Add(1) <= int64(b.N) {
							i := rand.IntN(files)
							must2(f.ReadFile(fmt.Sprintf("%02d/%04d", i%20, i)))
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
				if latency > 0 {
					b.ReportMetric(float64(fetched.Load())/float64(b.N)/1000, "fetched-kB/op")
				}
			})
		}
	}
}

// A large file in order, of which little is kept.
func BenchmarkInOrder(b *testing.B) {
	const size = 256 << 20
	v, _, _ := sealed(b, 64<<20, func(src string) { write(b, filepath.Join(src, "large"), treetest.Bytes(size, 1)) })
	f := open(b, v, view.Options{Memory: 64 << 20})
	b.SetBytes(size)
	for b.Loop() {
		must2(io.Copy(io.Discard, must2(f.Open("large"))))
	}
}
