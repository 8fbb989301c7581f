// Package cache keeps sealed contents of packs in a file on a disk, so that package view
// need not fetch them again. What lies there is what came from the vault: ciphertext, which
// is useless without the data key, and which is authenticated again whenever it is read.
//
// Nothing in the file is believed. Whatever somebody, a crash, or another process at the
// same moment has made of it, what does not authenticate is forgotten and fetched from the
// vault. So the file is written without locks and is never synced.
package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// MinSize is the least that a cache can have, in bytes.
const MinSize = 64 << 20

// name is that of the file.
const name = "vaultpack-sealed.cache"

// A Cache is safe for concurrent use, also by several processes in one folder.
type Cache struct {
	file  *os.File
	slots int64
	told  func(error)

	full   atomic.Bool // nothing more is written
	failed sync.Once
	sets   [64]sync.Mutex // for changes of sets by this process
}

var errNoCache = errors.New("cache: a Cache that Open has not returned")

// Open opens the cache in a folder, which is made if it does not exist, and which the
// caller closes. The cache takes up to size bytes on the disk, as it is filled; once it is
// full, something of chance makes room. A cache with another size is emptied, unless other
// processes use it: then it keeps the size that it has.
//
// failed, which may be nil, is called once if the disk fails or is full. The cache then
// keeps what it has, and contents come from the vault.
func Open(dir string, size int64, failed func(error)) (*Cache, error) {
	if size < MinSize {
		return nil, fmt.Errorf("cache: a size of %d bytes; the least is %d", size, int64(MinSize))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the folder of the cache: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("the folder of the cache: %w", err)
	}
	defer root.Close()
	c := &Cache{told: failed}
	if c.file, err = root.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600); err != nil {
		return nil, fmt.Errorf("the cache: %w", err)
	}
	if err := c.prepare(slotsOf(size)); err != nil {
		c.file.Close()
		return nil, fmt.Errorf("the cache %s: %w", filepath.Join(dir, name), err)
	}
	return c, nil
}

// Size returns how many bytes the cache takes at most.
func (c *Cache) Size() int64 {
	if c == nil || c.file == nil {
		return 0
	}
	return sizeOf(c.slots)
}

// Close closes the file. The views that use the cache must be closed before.
func (c *Cache) Close() error {
	if c == nil || c.file == nil {
		return errNoCache
	}
	return c.file.Close()
}

// prepare makes the file one of as many slots as are wanted, or as others have made it.
func (c *Cache) prepare(wanted int64) error {
	info, err := c.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a regular file; name another folder")
	}
	var calls fsys.Calls
	for range 100 {
		alone, err := calls.TryLock(c.file)
		switch {
		case errors.Is(err, fsys.ErrLocked):
		case err != nil:
			return err
		default: // alone, or where there are no locks
			if c.slots = c.read(); c.slots != wanted && (alone || c.slots == 0) {
				if err := c.format(wanted); err != nil {
					return err
				}
			}
		}
		if _, err := calls.Share(c.file); err != nil {
			return err
		}
		// Another process may have made it anew since.
		if c.slots = c.read(); c.slots > 0 {
			return nil
		}
	}
	return errors.New("it is damaged, and other processes use it; end them, or name another folder")
}

// The file begins with a header, and then has a table with an entry for each slot.
const (
	headerSize = 4096
	magic      = "vaultpack sealed cache 1\n"
)

// read returns the number of slots that the file has, or 0 if it is none of this kind.
func (c *Cache) read() int64 {
	var b [len(magic) + 8]byte
	info, err := c.file.Stat()
	if err != nil {
		return 0
	}
	if _, err := c.file.ReadAt(b[:], 0); err != nil || !bytes.HasPrefix(b[:], []byte(magic)) {
		return 0
	}
	n := binary.BigEndian.Uint64(b[len(magic):])
	if n == 0 || n%ways != 0 || n > maxSlots || sizeOf(int64(n)) != info.Size() {
		return 0
	}
	return int64(n)
}

// format empties the file. The header comes last, so that half a file is none.
func (c *Cache) format(slots int64) error {
	if err := c.file.Truncate(0); err != nil {
		return err
	}
	if err := c.file.Truncate(sizeOf(slots)); err != nil {
		return err
	}
	_, err := c.file.WriteAt(binary.BigEndian.AppendUint64([]byte(magic), uint64(slots)), 0)
	return err
}

// fail takes note of an error of the disk.
func (c *Cache) fail(err error) {
	if errors.Is(err, fs.ErrClosed) {
		return
	}
	c.full.Store(true)
	c.failed.Do(func() {
		if c.told != nil {
			c.told(fmt.Errorf("the cache of sealed contents keeps nothing more: %w", err))
		}
	})
}
