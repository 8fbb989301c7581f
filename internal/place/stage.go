package place

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/packs"
)

// A stagedFile is a file being written outside of the tree.
type stagedFile struct {
	name  string   // in the staging folder
	f     *os.File // open while a file in several pieces is being written
	taken int      // extents that have been written
	done  bool     // all of it is written, with its mode and time
	err   error
}

// Settle closes a file after all packs have been read. stopped is the error, if any,
// that prevented some from being read.
func (d *Dest) Settle(e *tree.Entry, stopped error) {
	s := d.staged[e]
	if s.f != nil {
		s.f.Close()
		s.f = nil
	}
	if s.err != nil || s.done {
		return
	}
	switch {
	case len(e.Extents) == 0:
		// Every file has an extent, except in versions made by other writers.
		s.err = d.stageSmall(e, strings.NewReader(""))
	case stopped != nil:
		s.err = stopped
	default:
		s.err = errors.New("not all of it was read")
	}
}

func (d *Dest) StageName() string { return strconv.FormatInt(d.seq.Add(1), 36) }

// Create makes a file in the staging folder.
func (d *Dest) Create(name string) (fd int, err error) {
	err = Retry("create", name, func() (err error) {
		fd, err = unix.Openat(d.StageFD, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	return fd, err
}

// inOneWrite is the size up to which a file is held in memory and written with one call.
const inOneWrite = 1 << 20

// writeSize is how much of a larger file is written at once. More would not fit the
// CPU's caches.
const writeSize = 256 << 10

var stagePool = sync.Pool{New: func() any { b := make([]byte, inOneWrite); return &b }}

// Stage writes one extent of a file to its staged file. The call that writes the last one
// completes the file.
func (d *Dest) Stage(e *tree.Entry, x tree.Extent, src io.Reader) error {
	if len(e.Extents) <= 1 && e.Size <= inOneWrite {
		return d.stageSmall(e, src)
	}
	s, err := d.stagedFile(e)
	if err != nil {
		return err
	}
	if err := d.writeExtent(int(s.f.Fd()), e, x, src); err != nil {
		return err
	}
	d.mu.Lock()
	s.taken++
	last := s.taken == len(e.Extents)
	f := s.f
	if last {
		s.f = nil
	}
	d.mu.Unlock()
	if !last {
		return nil
	}
	err = Retry("truncate", e.Path, func() error { return unix.Ftruncate(int(f.Fd()), e.Size) })
	if err == nil {
		err = CheckSum(e, f)
	}
	if err = d.finish(e, s.name, int(f.Fd()), f.Close, err); err == nil {
		s.done = true
	}
	return err
}

// writeExtent writes the extent's bytes at their offset in the file.
func (d *Dest) writeExtent(fd int, e *tree.Entry, x tree.Extent, src io.Reader) error {
	// The pieces of a file are written concurrently, and compete for its lock: a few
	// large writes wait less than many small ones.
	buf := stagePool.Get().(*[]byte)
	defer stagePool.Put(buf)
	for at, end := x.At, x.At+x.Length; at < end; {
		n := min(writeSize-at%writeSize, end-at) // to the next whole multiple
		b := (*buf)[:n]
		if _, err := io.ReadFull(src, b); err != nil {
			return err
		}
		if err := writeSparse(fd, e.Path, b, at); err != nil {
			return err
		}
		d.Bytes.Add(n)
		at += n
	}
	return nil
}

func (d *Dest) stageSmall(e *tree.Entry, src io.Reader) error {
	buf := stagePool.Get().(*[]byte)
	defer stagePool.Put(buf)
	if e.Size > inOneWrite {
		return errors.New("a large file without contents")
	}
	b := (*buf)[:e.Size]
	if _, err := io.ReadFull(src, b); err != nil {
		return err
	}
	if e.Sum != nil {
		if sum := sha256.Sum256(b); !bytes.Equal(sum[:], e.Sum) {
			return packs.ErrSHA256
		}
	}
	s, name := d.stagedOf(e), d.StageName()
	fd, err := d.Create(name)
	if err != nil {
		return err
	}
	s.name = name // used only by this goroutine: a small file has one extent
	err = writeSparse(fd, e.Path, b, 0)
	if err == nil && len(b) > 0 && len(b)%holeSize == 0 { // it may end in a hole
		err = Retry("truncate", e.Path, func() error { return unix.Ftruncate(fd, e.Size) })
	}
	d.Bytes.Add(int64(len(b)))
	if err = d.finish(e, name, fd, func() error { return unix.Close(fd) }, err); err == nil {
		s.taken, s.done = len(e.Extents), true
	}
	return err
}

func (d *Dest) stagedOf(e *tree.Entry) *stagedFile {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.staged[e]
}

// stagedFile opens the staged file, which all pieces of a file share.
func (d *Dest) stagedFile(e *tree.Entry) (*stagedFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.staged[e]
	if s.f != nil {
		return s, nil
	}
	name := d.StageName()
	fd, err := d.Create(name)
	if err != nil {
		return nil, err
	}
	s.name, s.f = name, os.NewFile(uintptr(fd), name)
	return s, nil
}

// CheckSum compares a complete file with its recorded SHA-256, if there is one.
func CheckSum(e *tree.Entry, f *os.File) error {
	if e.Sum == nil {
		return nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, e.Size)); err != nil {
		return err
	}
	if !bytes.Equal(h.Sum(nil), e.Sum) {
		return packs.ErrSHA256
	}
	return nil
}

// finish sets the mode and time of a staged file, unless writing it has failed with err,
// and closes it.
func (d *Dest) finish(e *tree.Entry, name string, fd int, close func() error, err error) error {
	if err == nil {
		err = d.Chmod(fd, e.Path, d.mode(e))
	}
	if err == nil {
		err = syncFile(fd)
	}
	// What close reports about earlier writes matters; they cannot be repeated.
	if cerr := close(); err == nil && cerr != nil && !errors.Is(cerr, unix.EINTR) {
		err = fmt.Errorf("closing the file: %w", cerr)
	}
	if err != nil {
		return err
	}
	return d.setTime(d.StageFD, name, e.ModTime)
}

// mode returns the mode that the entry is restored with.
func (d *Dest) mode(e *tree.Entry) uint32 {
	m := fsys.PosixMode(e.Mode)
	if !d.PreserveSetID {
		m &^= unix.S_ISUID | unix.S_ISGID
	}
	return m
}
