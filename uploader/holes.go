package uploader

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// holes finds the pieces of a large file that are holes. Holes of the same length are
// identical: the first of each length is sent, and the others share its extent without
// being read.
type holes struct {
	f     *os.File // nil if the file cannot be opened; whoever sends it reports why
	first map[int64]*job
}

func (u *upload) findHoles(it *item) *holes {
	h := &holes{first: map[int64]*job{}}
	if u.bucket != nil {
		return h // objects have none
	}
	if f, err := openSource(it.file); err == nil {
		h.f = f
	}
	return h
}

func (h *holes) close() {
	if h.f != nil {
		h.f.Close()
	}
}

// share makes the piece share the contents of an earlier one, if both are holes, and
// reports whether they are.
func (h *holes) share(j *job) bool {
	if h.f == nil || !isHole(h.f, j.off, j.n) {
		return false
	}
	first, ok := h.first[j.n]
	if !ok {
		h.first[j.n] = j
		return false
	}
	j.like, j.done = first, first.done
	return true
}

// isHole reports whether the file system says that n bytes from off were never written.
// If that cannot be determined, isHole returns false.
func isHole(f *os.File, off, n int64) bool {
	if n == 0 {
		return false
	}
	data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return true // to the end
	}
	return err == nil && data >= off+n
}
