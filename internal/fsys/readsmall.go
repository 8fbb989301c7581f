package fsys

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// ReadSmall reads a file of at most limit bytes. It does not wait for a writer of a named
// pipe, and does not read an endless file.
func ReadSmall(file string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", file, limit)
	}
	return b, nil
}
