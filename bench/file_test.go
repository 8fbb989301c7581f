package bench

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/vaultpack/vaultpack/bench/internal/limit"
	"github.com/vaultpack/vaultpack/bench/internal/versus"
	"github.com/vaultpack/vaultpack/envelope"
)

// BenchmarkSealFile seals one file into another, new each time. The limit reads
// and writes by the block at its place, on as many cores. Files lie in
// b.TempDir and are not synced: TMPDIR=/dev/shm keeps the disk out of it.
func BenchmarkSealFile(b *testing.B) {
	eachCase(b, sizes, func(b *testing.B, size, workers int) {
		src := plainFile(b, size)
		subject := func() error {
			return withFiles(b, src, "sealed", func(dst, src *os.File) error {
				w, err := envelope.NewWriter(dst, envelope.KindFile, dataKey, envelope.Workers(workers))
				if err != nil {
					return err
				}
				if _, err := io.Copy(w, src); err != nil {
					return err
				}
				return w.Close()
			})
		}
		l := limit.New(workers)
		versus.Run(b, size, times(subject), versus.Side{Name: versus.LimitName, Run: times(func() error {
			return withFiles(b, src, "limit", func(dst, src *os.File) error { return l.SealFile(dst, src, size) })
		})})
	})
}

// BenchmarkOpenFile opens one file into another, new each time, as
// BenchmarkSealFile seals.
func BenchmarkOpenFile(b *testing.B) {
	eachCase(b, sizes, func(b *testing.B, size, workers int) {
		src, limitSrc := sealedFile(b, size), limitFile(b, size)
		subject := func() error {
			return withFiles(b, src, "opened", func(dst, src *os.File) error {
				r, err := envelope.NewReader(src, envelope.KindFile, dataKey, envelope.Workers(workers))
				if err != nil {
					return err
				}
				n, err := io.Copy(dst, r)
				if err != nil {
					return err
				}
				return expect(n, int64(size))
			})
		}
		l := limit.New(workers)
		versus.Run(b, size, times(subject), versus.Side{Name: versus.LimitName, Run: times(func() error {
			return withFiles(b, limitSrc, "limit", func(dst, src *os.File) error { return l.OpenFile(dst, src, size) })
		})})
	})
}

// withFiles calls f with the file named src open and a new, empty one, which is
// removed after.
func withFiles(b *testing.B, src, name string, f func(dst, src *os.File) error) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(filepath.Dir(src), name))
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	if err := f(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

func plainFile(b *testing.B, size int) string  { return writeFile(b, "plain", plainArena.Bytes(size)) }
func sealedFile(b *testing.B, size int) string { return writeFile(b, "in", sealed(b, size)) }
func limitFile(b *testing.B, size int) string  { return writeFile(b, "in", limitSealed(b, size)) }

func writeFile(b *testing.B, name string, data []byte) string {
	path := filepath.Join(b.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}
