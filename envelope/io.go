package envelope

import (
	"errors"
	"io"
)

// readFull fills p, or returns how much came before the error. Other than
// io.ReadFull it returns io.EOF wherever the source ends, and passes on an
// io.ErrUnexpectedEOF of the source itself: that is how net/http and others say
// that a connection broke, and a stream cut so must not be taken for a whole one.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	if n == len(p) {
		err = nil
	}
	return n, err
}

var errInvalidWrite = errors.New("the destination returned an impossible count")

// writeFull writes p, and trusts no Writer that says less than the whole was
// written, or more, without an error.
func writeFull(w io.Writer, p []byte) (int, error) {
	n, err := w.Write(p)
	if n < 0 || n > len(p) {
		n = 0
		if err == nil {
			err = errInvalidWrite
		}
	}
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}
