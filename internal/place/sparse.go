package place

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// holeSize is the length from which a run of zeros in a file becomes a hole, and its
// alignment.
const holeSize = 64 << 10

var zeros [holeSize]byte

// writeSparse writes b at off, but skips multiples of holeSize that are all zeros. The
// file must be new, so that zeros are there already, and its size must be set at the end.
func writeSparse(fd int, name string, b []byte, off int64) error {
	for len(b) > 0 {
		n := dataRun(b, off)
		for rest, at := b[:n], off; len(rest) > 0; {
			var k int
			err := Retry("write", name, func() (err error) {
				k, err = unix.Pwrite(fd, rest, at)
				return err
			})
			if err != nil {
				return err
			}
			rest, at = rest[k:], at+int64(k)
		}
		hole := holeRun(b[n:], off+int64(n))
		b, off = b[n+hole:], off+int64(n+hole)
	}
	return nil
}

// zeroBlock reports whether b, which is at offset off, begins with a block that can be a hole.
func zeroBlock(b []byte, off int64) bool {
	return off%holeSize == 0 && len(b) >= holeSize && bytes.Equal(b[:holeSize], zeros[:])
}

// dataRun returns the number of bytes from the start of b that must be written.
func dataRun(b []byte, off int64) (n int) {
	for n < len(b) && !zeroBlock(b[n:], off+int64(n)) {
		n += min(int(holeSize-(off+int64(n))%holeSize), len(b)-n)
	}
	return n
}

// holeRun returns the number of bytes from the start of b that make a hole.
func holeRun(b []byte, off int64) (n int) {
	for zeroBlock(b[n:], off+int64(n)) {
		n += holeSize
	}
	return n
}
