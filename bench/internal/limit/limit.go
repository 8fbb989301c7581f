// Package limit is what the benchmarks compare every figure with: AES-256-GCM of
// the standard library over bare 16 KiB chunks. There is no header, no key
// derivation, no order and no interface; chunks go directly from their source to
// their destination. It is not a file format.
package limit

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
)

// Sizes in bytes.
const (
	Chunk       = 16 << 10
	tag         = 16
	sealedChunk = Chunk + tag
)

// Chunks are distributed to workers in blocks: a megabyte, or less if that would
// leave workers idle, but never so little that starting a goroutine costs more than
// it gains.
const (
	maxBlock = 64 // chunks
	minBlock = 4
)

// A Limit seals and opens on a given number of cores. It is safe for concurrent use.
type Limit struct {
	aead    cipher.AEAD
	workers int
}

// New returns a Limit with a fixed key, for the given number of cores.
func New(workers int) *Limit {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &Limit{aead, workers}
}

// SealedSize returns the size of size bytes in sealed chunks.
func SealedSize(size int) int { return size + chunks(size)*tag }

func chunks(size int) int { return (size + Chunk - 1) / Chunk }

// A worker has everything that a goroutine needs, so that chunks do not allocate.
type worker struct {
	nonce   [12]byte
	scratch [sealedChunk]byte
	block   []byte // for files
}

var workerPool = sync.Pool{New: func() any { return new(worker) }}

// each calls f for blocks of chunks [from, to) that together cover all n.
func (l *Limit) each(n int, f func(w *worker, from, to int) error) error {
	block := max(minBlock, min(maxBlock, (n+l.workers-1)/l.workers))
	blocks := (n + block - 1) / block
	var next atomic.Int64
	var failed atomic.Pointer[error]
	work := func() {
		w := workerPool.Get().(*worker)
		defer workerPool.Put(w)
		for k := int(next.Add(1)) - 1; k < blocks; k = int(next.Add(1)) - 1 {
			if err := f(w, k*block, min(n, (k+1)*block)); err != nil {
				failed.Store(&err)
				return
			}
		}
	}
	// The caller is one of the workers.
	var wg sync.WaitGroup
	for range min(l.workers, blocks) - 1 {
		wg.Go(work)
	}
	work()
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (w *worker) nonceFor(chunk int) []byte {
	binary.BigEndian.PutUint64(w.nonce[4:], uint64(chunk))
	return w.nonce[:]
}

// part returns the i-th piece of b, short or empty at the end.
func part(b []byte, i, size int) []byte { return b[min(len(b), i*size):min(len(b), (i+1)*size)] }

// Seal seals src into dst, which holds SealedSize(len(src)) bytes. If dst is nil,
// the sealed chunks are dropped.
func (l *Limit) Seal(dst, src []byte) error {
	return l.each(chunks(len(src)), func(w *worker, from, to int) error {
		for i := from; i < to; i++ {
			out := w.scratch[:0]
			if dst != nil {
				out = part(dst, i, sealedChunk)[:0]
			}
			l.aead.Seal(out, w.nonceFor(i), part(src, i, Chunk), nil)
		}
		return nil
	})
}

// Open opens what Seal wrote. If dst is nil, the plaintext is dropped.
func (l *Limit) Open(dst, sealed []byte) error {
	n := (len(sealed) + sealedChunk - 1) / sealedChunk
	return l.each(n, func(w *worker, from, to int) error {
		for i := from; i < to; i++ {
			out := w.scratch[:0]
			if dst != nil {
				out = part(dst, i, Chunk)[:0]
			}
			if _, err := l.aead.Open(out, w.nonceFor(i), part(sealed, i, sealedChunk), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReadAt fills p with the contents of sealed at offset off: it opens the chunks
// that p touches. It fails if sealed ends before p is full.
func (l *Limit) ReadAt(p, sealed []byte, off int) error {
	first, last := off/Chunk, (off+len(p)-1)/Chunk
	return l.each(last-first+1, func(w *worker, from, to int) error {
		for i := first + from; i < first+to; i++ {
			at := max(0, i*Chunk-off)
			if out := p[at:]; i*Chunk >= off && len(out) >= Chunk { // all of the chunk
				if _, err := l.aead.Open(out[:0], w.nonceFor(i), part(sealed, i, sealedChunk), nil); err != nil {
					return err
				}
				continue
			}
			plain, err := l.aead.Open(w.scratch[:0], w.nonceFor(i), part(sealed, i, sealedChunk), nil)
			if err != nil {
				return err
			}
			skip := max(0, off-i*Chunk)
			if want := min(len(p)-at, Chunk-skip); copy(p[at:], plain[skip:]) < want {
				return errors.New("limit: read past the end")
			}
		}
		return nil
	})
}

// SealFile seals size bytes of src into dst: each worker reads a block, seals it
// and writes it at its offset.
func (l *Limit) SealFile(dst, src *os.File, size int) error {
	return l.each(chunks(size), func(w *worker, from, to int) error {
		plain, sealed := w.buffers()
		plain = plain[:min(size, to*Chunk)-from*Chunk]
		if _, err := src.ReadAt(plain, int64(from)*Chunk); err != nil {
			return err
		}
		out := sealed[:0]
		for i := from; i < to; i++ {
			out = l.aead.Seal(out, w.nonceFor(i), part(plain, i-from, Chunk), nil)
		}
		_, err := dst.WriteAt(out, int64(from)*sealedChunk)
		return err
	})
}

// OpenFile opens what SealFile wrote for size bytes.
func (l *Limit) OpenFile(dst, src *os.File, size int) error {
	return l.each(chunks(size), func(w *worker, from, to int) error {
		plain, sealed := w.buffers()
		sealed = sealed[:min(SealedSize(size), to*sealedChunk)-from*sealedChunk]
		if _, err := src.ReadAt(sealed, int64(from)*sealedChunk); err != nil {
			return err
		}
		out := plain[:0]
		for i := from; i < to; i++ {
			var err error
			if out, err = l.aead.Open(out, w.nonceFor(i), part(sealed, i-from, sealedChunk), nil); err != nil {
				return err
			}
		}
		_, err := dst.WriteAt(out, int64(from)*Chunk)
		return err
	})
}

func (w *worker) buffers() (plain, sealed []byte) {
	if w.block == nil {
		w.block = make([]byte, maxBlock*(Chunk+sealedChunk))
	}
	return w.block[:maxBlock*Chunk], w.block[maxBlock*Chunk:]
}
