package local

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// A job may fill the disk that its folder is on. Room for the few files that say how it ended
// is taken before the command starts: otherwise a command that ended well would seem to have failed.
const (
	reserveName = "reserve"
	reserveSize = 64 << 10
)

// reserve takes the room in a folder.
func reserve(dir string) error {
	b := make([]byte, reserveSize)
	rand.Read(b) // file systems that compress are to store all of it
	return os.WriteFile(filepath.Join(dir, reserveName), b, 0o600)
}

// release gives the room back to whoever writes next.
func release(dir string) error {
	err := os.Remove(filepath.Join(dir, reserveName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
