package envelope

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/vaultpack/vaultpack/envelope/internal/cobblestone"
)

// Sizes in bytes.
const (
	DataKeySize = 32         // a data key
	HeaderSize  = headerSize // a header without a keyring
	SegmentSize = 1 << 20    // the plaintext of every segment but the last

	ChunkSize = cobblestone.ChunkSize // the plaintext of every chunk of a segment but the last: 16 KiB
	// SegmentHead is what precedes the chunks in a sealed segment: its salt and
	// the commitment to its key.
	SegmentHead = cobblestone.HeaderSize
	TagSize     = cobblestone.TagSize // what a sealed chunk is longer than the chunk
)

// sealedSegment is what a full segment takes: 1,049,672 bytes.
const sealedSegment = cobblestone.HeaderSize + SegmentSize + (SegmentSize/cobblestone.ChunkSize+1)*cobblestone.TagSize

// maxSize is the most that a sealed file holds.
const maxSize = 1 << 62

// SealedSize returns the size of a sealed file that holds size bytes, at most
// 2^62, and whose keyring is kept elsewhere. A keyring in the header adds its
// own length. SealedSize returns -1 if size is negative or too large.
func SealedSize(size int64) int64 {
	if size < 0 || size > maxSize {
		return -1
	}
	return HeaderSize + size/SegmentSize*sealedSegment + cobblestone.SealedSize(size%SegmentSize)
}

// PlaintextSize returns the number of plaintext bytes in a sealed file of the
// given size whose keyring is kept elsewhere, or ErrAuthentication if no sealed
// file has that size. The result can be trusted only as far as the given size.
func PlaintextSize(sealed int64) (int64, error) {
	if sealed < HeaderSize {
		return 0, ErrAuthentication
	}
	sealed -= HeaderSize
	last, err := cobblestone.PlaintextSize(sealed % sealedSegment)
	if err != nil || last >= SegmentSize {
		return 0, ErrAuthentication
	}
	if size := sealed/sealedSegment*SegmentSize + last; size <= maxSize {
		return size, nil
	}
	return 0, ErrAuthentication
}

// SegmentRange returns the range of a sealed file that holds the segments of the
// n plaintext bytes from off. The file has size plaintext bytes, and its keyring
// is kept elsewhere. [Header.OpenRange] opens the range. Both results are 0 for a
// range outside the file, which OpenRange refuses.
func SegmentRange(size, off, n int64) (sealedOff, sealedLen int64) {
	if checkRange(size, off, n) != nil {
		return 0, 0
	}
	first, end := off/SegmentSize, size/SegmentSize+1
	if last := (off + max(n, 1) - 1) / SegmentSize; last+1 < end {
		end = last + 1
	}
	sealedOff = HeaderSize + first*sealedSegment
	return sealedOff, min(HeaderSize+end*sealedSegment, SealedSize(size)) - sealedOff
}

// ChunkRange returns the range of a sealed file that holds the chunks of the n
// plaintext bytes from off, and where in it the head of the segment, [SegmentHead]
// bytes, begins. The bytes are at least 1 and of one segment; for others, and
// outside the file, all results are 0. The file is as for [SegmentRange]. What
// [Header.OpenAt] returns reads the head and this range for these bytes.
func ChunkRange(size, off, n int64) (head, sealedOff, sealedLen int64) {
	if checkRange(size, off, n) != nil || n == 0 || off/SegmentSize != (off+n-1)/SegmentSize {
		return 0, 0, 0
	}
	segment := off / SegmentSize
	plain := min(SegmentSize, size-segment*SegmentSize)
	first, end := off%SegmentSize/ChunkSize, (off+n-1)%SegmentSize/ChunkSize+1
	if end == plain/ChunkSize {
		end++ // the short one, which may be empty
	}
	head = HeaderSize + segment*sealedSegment
	from := first * cobblestone.SealedChunk
	to := min(end*cobblestone.SealedChunk, cobblestone.SealedSize(plain)-SegmentHead)
	return head, head + SegmentHead + from, to - from
}

// checkRange refuses n bytes from off that a file of size bytes cannot have.
func checkRange(size, off, n int64) error {
	if size < 0 || size > maxSize || off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("%d bytes from offset %d are outside of a sealed file of %d", n, off, size)
	}
	return nil
}

// segmentContext is the Cobblestone context of segment i: its place in the file.
func segmentContext(i uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(labelSegment), i)
}

func sealSegment(dst []byte, objectKey *secret, i uint64, plain []byte) ([]byte, error) {
	key, err := objectKey.acquire()
	if err != nil {
		return nil, err
	}
	defer objectKey.release()
	return cobblestone.Seal(dst, key, segmentContext(i), plain)
}

func openSegment(dst []byte, objectKey *secret, i uint64, sealed []byte) ([]byte, error) {
	key, err := objectKey.acquire()
	if err != nil {
		return nil, err
	}
	defer objectKey.release()
	out, err := cobblestone.Open(dst, key, segmentContext(i), sealed)
	return out, authentication(err)
}

// newSealer begins segment i, to be sealed by chunks.
func newSealer(objectKey *secret, i uint64) (*cobblestone.Message, [cobblestone.HeaderSize]byte, error) {
	key, err := objectKey.acquire()
	if err != nil {
		return nil, [cobblestone.HeaderSize]byte{}, err
	}
	defer objectKey.release()
	return cobblestone.NewSealer(key, segmentContext(i))
}

// newOpener checks the commitment of segment i, to be opened by chunks.
func newOpener(objectKey *secret, i uint64, header []byte) (*cobblestone.Message, error) {
	key, err := objectKey.acquire()
	if err != nil {
		return nil, err
	}
	defer objectKey.release()
	m, err := cobblestone.NewOpener(key, segmentContext(i), header)
	return m, authentication(err)
}

// authentication is err under this package's name.
func authentication(err error) error {
	if err == cobblestone.ErrOpen {
		return ErrAuthentication
	}
	return err
}

// A Pin names the exact bytes of one sealed file: its size, and the SHA-256 of
// its segments' 56-byte headers. Each header holds a salt and the commitment
// to a key that seals only one message, so an object ID and a Pin together
// determine every byte of the file, without a hash over all of it.
type Pin struct {
	Size   int64
	Digest [32]byte
}

// A pinner computes a Pin, segment by segment. Its size begins as that of the
// file's header.
type pinner struct {
	size  int64
	first []byte // what the digest is of, while that is one segment at most: most files have no other
	room  [cobblestone.HeaderSize]byte
	sum   hash.Hash // from the second on
}

// add takes the next segment, or just its header, and its size.
func (p *pinner) add(sealed []byte, size int64) {
	p.size += size
	head := sealed[:cobblestone.HeaderSize]
	if p.first == nil {
		p.first = append(p.room[:0], head...)
		return
	}
	if p.sum == nil {
		p.sum = sha256.New()
		p.sum.Write(p.first)
	}
	p.sum.Write(head)
}

func (p *pinner) pin() Pin {
	if p.sum == nil {
		return Pin{Size: p.size, Digest: sha256.Sum256(p.first)}
	}
	return Pin{Size: p.size, Digest: [32]byte(p.sum.Sum(nil))}
}
