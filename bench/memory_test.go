package bench

import (
	"bytes"
	"io"
	"testing"

	"github.com/vaultpack/vaultpack/bench/internal/limit"
	"github.com/vaultpack/vaultpack/bench/internal/versus"
	"github.com/vaultpack/vaultpack/envelope"
)

// piece is what the caller has in hand at a time in the benchmarks that stream.
const piece = 64 << 10

// BenchmarkSeal seals from memory to a destination that drops what it gets, with
// the data key at hand, the header and the end included.
//
// The calls are: WriteAll, all plaintext in one Write; Write, in pieces of 64
// KiB; ReadFrom, from a reader.
func BenchmarkSeal(b *testing.B) {
	for _, c := range sealCalls {
		b.Run("call="+c.name, func(b *testing.B) {
			eachCase(b, sizes, func(b *testing.B, size, workers int) {
				plain := plainArena.Bytes(size)
				subject := func() error {
					var dst dropped
					if err := seal(&dst, plain, c.put, workers); err != nil {
						return err
					}
					return expect(dst.n, envelope.SealedSize(int64(size)))
				}
				l := limit.New(workers)
				versus.Run(b, size, times(subject), versus.Side{Name: versus.LimitName, Run: times(func() error {
					return l.Seal(nil, plain)
				})})
			})
		})
	}
}

// BenchmarkSealKept is BenchmarkSeal with the sealed bytes kept in a buffer of
// the right size: through an io.Writer that copies them, where the limit seals
// into place.
func BenchmarkSealKept(b *testing.B) {
	eachCase(b, sizes, func(b *testing.B, size, workers int) {
		plain := plainArena.Bytes(size)
		out := sealedArena.Bytes(int(envelope.SealedSize(int64(size))))
		lastSealed = nil
		subject := func() error {
			dst := memory{b: out}
			return seal(&dst, plain, writeAll, workers)
		}
		l, limitOut := limit.New(workers), sealedOther.Bytes(limit.SealedSize(size))
		versus.Run(b, size, times(subject), versus.Side{Name: versus.LimitName, Run: times(func() error {
			return l.Seal(limitOut, plain)
		})})
	})
}

var sealCalls = []struct {
	name string
	put  func(w *envelope.Writer, plain []byte) error
}{
	{"WriteAll", writeAll},
	{"Write", func(w *envelope.Writer, plain []byte) error {
		for len(plain) > 0 {
			n := min(len(plain), piece)
			if _, err := w.Write(plain[:n]); err != nil {
				return err
			}
			plain = plain[n:]
		}
		return nil
	}},
	{"ReadFrom", func(w *envelope.Writer, plain []byte) error {
		_, err := w.ReadFrom(plainReader{bytes.NewReader(plain)})
		return err
	}},
}

func writeAll(w *envelope.Writer, plain []byte) error {
	_, err := w.Write(plain)
	return err
}

func seal(dst io.Writer, plain []byte, put func(*envelope.Writer, []byte) error, workers int) error {
	w, err := envelope.NewWriter(dst, envelope.KindFile, dataKey, envelope.Workers(workers))
	if err != nil {
		return err
	}
	if err := put(w, plain); err != nil {
		return err
	}
	return w.Close()
}

// BenchmarkOpen opens a sealed file in memory, with the data key at hand.
//
// The calls are: WriteTo, to a writer that drops what it gets; Read, in pieces
// of 64 KiB.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct {
		name   string
		source func(in []byte) io.Reader
		get    func(r *envelope.Reader) (int64, error)
	}{
		{"WriteTo", piped, func(r *envelope.Reader) (int64, error) { return r.WriteTo(new(dropped)) }},
		{"Read", piped, readPieces},
		// Sealed bytes that the Reader knows to lie in memory need not be copied.
		{"Bytes", func(in []byte) io.Reader { return bytes.NewReader(in) }, func(r *envelope.Reader) (int64, error) { return r.WriteTo(new(dropped)) }},
	} {
		b.Run("call="+c.name, func(b *testing.B) {
			eachCase(b, sizes, func(b *testing.B, size, workers int) {
				in := sealed(b, size)
				l, limitIn := limit.New(workers), limitSealed(b, size)
				versus.Run(b, size, times(func() error { return open(c.source(in), size, c.get, workers) }),
					versus.Side{Name: versus.LimitName, Run: times(func() error { return l.Open(nil, limitIn) })})
			})
		})
	}
}

// BenchmarkOpenKept is BenchmarkOpen with the plaintext kept in a buffer of the
// right size: through an io.Writer that copies it, where the limit opens into
// place.
func BenchmarkOpenKept(b *testing.B) {
	eachCase(b, sizes, func(b *testing.B, size, workers int) {
		in, out := sealed(b, size), openedArena.Bytes(size)
		keep := func(r *envelope.Reader) (int64, error) { return r.WriteTo(&memory{b: out}) }
		l, limitIn := limit.New(workers), limitSealed(b, size)
		versus.Run(b, size, times(func() error { return open(piped(in), size, keep, workers) }),
			versus.Side{Name: versus.LimitName, Run: times(func() error { return l.Open(out, limitIn) })})
	})
}

// piped hides that a source lies in memory, as a connection or a pipe does not.
func piped(in []byte) io.Reader { return plainReader{bytes.NewReader(in)} }

func open(src io.Reader, size int, get func(*envelope.Reader) (int64, error), workers int) error {
	r, err := envelope.NewReader(src, envelope.KindFile, dataKey, envelope.Workers(workers))
	if err != nil {
		return err
	}
	n, err := get(r)
	if err != nil {
		return err
	}
	return expect(n, int64(size))
}

func readPieces(r *envelope.Reader) (n int64, err error) {
	p := make([]byte, piece)
	for {
		k, err := r.Read(p)
		n += int64(k)
		if err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}
