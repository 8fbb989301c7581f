package envelope

import (
	"errors"
	"fmt"
	"io"
)

var (
	errInvalidRead  = errors.New("the source returned an impossible count")
	errInvalidWrite = errors.New("the destination returned an impossible count")
	errShortRead    = errors.New("the source read less than it was asked for, and gave no error")
)

// maxEmptyReads is how often in a row a source may return nothing and no error,
// as in package bufio.
const maxEmptyReads = 100

// readFull fills p, or returns how much came before the error. Other than
// io.ReadFull it returns io.EOF wherever the source ends, and passes on an
// io.ErrUnexpectedEOF of the source itself: that is how net/http and others say
// that a connection broke, and a stream cut so must not be taken for a whole one.
// An error that comes with the last of p's bytes is returned with them.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for empty := 0; n < len(p) && err == nil; {
		var m int
		m, err = r.Read(p[n:])
		if m < 0 || m > len(p)-n {
			return n, errInvalidRead
		}
		if n += m; m > 0 {
			empty = 0
		} else if empty++; empty >= maxEmptyReads && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

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

// interrupted is the error of a stream after a panic or runtime.Goexit.
func interrupted(what string) error {
	return fmt.Errorf("%s was %w", what, ErrInterrupted)
}
