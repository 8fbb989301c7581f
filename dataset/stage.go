package dataset

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/packs"
)

// stagingPrefix begins the name of the folder that files are written in first. In one
// that has a file newMarker, the restore has made the destination.
const (
	stagingPrefix = ".vaultpack-restore-"
	newMarker     = ".new" // no stageName
)

// isStaging reports whether a folder of the name, a single path element, is one that
// a Restore works in, or has left because it was killed. What is in it is nobody's data.
func isStaging(name string) bool {
	random, ok := strings.CutPrefix(name, stagingPrefix)
	return ok && fsys.IsTemporary(random)
}

// calls are the kernel's own; tests put others in their place.
var calls fsys.Calls

// makeStaging makes and locks the staging folder, and removes those that killed
// runs have left.
func (r *Restore) makeStaging() (cleanUp func(), err error) {
	names, err := fs.Glob(r.root.FS(), stagingPrefix+"*")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !isStaging(name) {
			continue
		}
		if f, err := r.root.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err == nil {
			switch fate, err := calls.FateOf(f, strings.TrimPrefix(name, stagingPrefix)); {
			case err != nil || fate == fsys.Unknown:
				r.Leftovers = append(r.Leftovers, name)
			case fate == fsys.Dead:
				// The destination is as new as it was for that run.
				_, err := r.root.Lstat(name + "/" + newMarker)
				r.folders.created = r.folders.created || err == nil
				r.staging = name
				r.removeStaging()
			}
			f.Close()
		}
	}
	r.staging = stagingPrefix + fsys.Self().String() + "-" + rand.Text()
	if err := r.root.Mkdir(r.staging, 0o700); err != nil {
		return nil, err
	}
	lock, err := r.root.Open(r.staging)
	if err != nil {
		return nil, err
	}
	r.stageFD = int(lock.Fd())
	// Where there are no locks, the name says whose it is.
	if _, err := calls.Lock(lock); err != nil {
		lock.Close()
		return nil, errors.Join(err, r.root.RemoveAll(r.staging))
	}
	cleanUp = func() {
		r.removeStaging()
		lock.Close()
	}
	if r.folders.created {
		fd, err := r.create(newMarker)
		if err != nil {
			cleanUp()
			return nil, err
		}
		unix.Close(fd)
	}
	if err := r.probeAttributes(); err != nil {
		cleanUp()
		return nil, err
	}
	return cleanUp, nil
}

// A stagedFile is one being written beside the tree.
type stagedFile struct {
	name  string   // in the staging folder
	f     *os.File // open while a file in several pieces is being written
	taken int      // extents that have been written
	done  bool     // all of it is written, with its mode and time
	err   error
}

// settle ends what is still open of a file once all packs have been read. stopped is
// what kept some of them from being read.
func (r *Restore) settle(e *tree.Entry, s *stagedFile, stopped error) {
	if s.f != nil {
		s.f.Close()
		s.f = nil
	}
	if s.err != nil || s.done {
		return
	}
	switch {
	case len(e.Extents) == 0:
		// Every file has an extent, but not in versions of other writers.
		s.err = r.stageSmall(e, strings.NewReader(""))
	case stopped != nil:
		s.err = stopped
	default:
		s.err = errors.New("not all of it was read")
	}
}

func (r *Restore) stageName() string { return strconv.FormatInt(r.seq.Add(1), 36) }

// create makes a file in the staging folder.
func (r *Restore) create(name string) (fd int, err error) {
	err = retry("create", name, func() (err error) {
		fd, err = unix.Openat(r.stageFD, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	return fd, err
}

// inOneWrite is the size up to which a file is held in memory and written by one
// call.
const inOneWrite = 1 << 20

// writeSize is what is written of a larger one at once. More does not stay in
// the caches.
const writeSize = 256 << 10

var stagePool = sync.Pool{New: func() any { b := make([]byte, inOneWrite); return &b }}

// stage writes one extent of a file to its staged file. Who writes the last one
// completes the file.
func (r *Restore) stage(e *tree.Entry, x tree.Extent, src io.Reader) error {
	if len(e.Extents) <= 1 && e.Size <= inOneWrite {
		return r.stageSmall(e, src)
	}
	s, err := r.stagedFile(e)
	if err != nil {
		return err
	}
	if err := r.writeExtent(int(s.f.Fd()), e, x, src); err != nil {
		return err
	}
	r.mu.Lock()
	s.taken++
	last := s.taken == len(e.Extents)
	f := s.f
	if last {
		s.f = nil
	}
	r.mu.Unlock()
	if !last {
		return nil
	}
	err = retry("truncate", e.Path, func() error { return unix.Ftruncate(int(f.Fd()), e.Size) })
	if err == nil {
		err = checkSum(e, f)
	}
	if err = r.finish(e, s.name, int(f.Fd()), f.Close, err); err == nil {
		s.done = true
	}
	return err
}

// writeExtent writes the extent's bytes where they lie in the file.
func (r *Restore) writeExtent(fd int, e *tree.Entry, x tree.Extent, src io.Reader) error {
	// The pieces of a file are written at once, and take turns at its lock: few
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
		r.Bytes.Add(n)
		at += n
	}
	return nil
}

func (r *Restore) stageSmall(e *tree.Entry, src io.Reader) error {
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
	s, name := r.stagedOf(e), r.stageName()
	fd, err := r.create(name)
	if err != nil {
		return err
	}
	s.name = name // of this goroutine alone: a small file has one extent
	err = writeSparse(fd, e.Path, b, 0)
	if err == nil && len(b) > 0 && len(b)%holeSize == 0 { // it may end in a hole
		err = retry("truncate", e.Path, func() error { return unix.Ftruncate(fd, e.Size) })
	}
	r.Bytes.Add(int64(len(b)))
	if err = r.finish(e, name, fd, func() error { return unix.Close(fd) }, err); err == nil {
		s.taken, s.done = len(e.Extents), true
	}
	return err
}

func (r *Restore) stagedOf(e *tree.Entry) *stagedFile {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.staged[e]
}

// stagedFile opens the staged file, which all pieces of a file share.
func (r *Restore) stagedFile(e *tree.Entry) (*stagedFile, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.staged[e]
	if s.f != nil {
		return s, nil
	}
	name := r.stageName()
	fd, err := r.create(name)
	if err != nil {
		return nil, err
	}
	s.name, s.f = name, os.NewFile(uintptr(fd), name)
	return s, nil
}

// checkSum compares a complete file with its recorded SHA-256, if there is one.
func checkSum(e *tree.Entry, f *os.File) error {
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

// finish gives a staged file its mode and time, unless writing it has failed
// with err, and closes it.
func (r *Restore) finish(e *tree.Entry, name string, fd int, close func() error, err error) error {
	if err == nil {
		err = r.chmod(fd, e.Path, r.mode(e))
	}
	if err == nil {
		err = syncFile(fd)
	}
	// What close says of earlier writes matters; there is no trying again.
	if cerr := close(); err == nil && cerr != nil && !errors.Is(cerr, unix.EINTR) {
		err = fmt.Errorf("closing the file: %w", cerr)
	}
	if err != nil {
		return err
	}
	return r.setTime(r.stageFD, name, e.ModTime)
}

// mode is the entry's mode as it is restored.
func (r *Restore) mode(e *tree.Entry) uint32 {
	m := fsys.PosixMode(e.Mode)
	if !r.PreserveSetID {
		m &^= unix.S_ISUID | unix.S_ISGID
	}
	return m
}
