package local

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/internal/fsys"
)

// A workspace is the private folder that a job's plaintext is in.
type workspace struct {
	dir  string // of mode 0700
	base string // in it, what the job finds as /opt/ml
	why  string // for people
	lock *os.File
}

// workPrefix begins the names of such folders. Whose it is follows, and each is locked
// as long as its run lives, so that the next run can remove what a killed one has left.
const workPrefix = "vaultpack-train-"

const memoryFS = "/dev/shm"

func newWorkspace(j *Job) (*workspace, error) {
	parent, why, err := j.choose()
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{memoryFS, os.TempDir(), parent} {
		removeLeftovers(dir)
	}
	w := &workspace{}
	if w.dir, err = os.MkdirTemp(parent, workPrefix+fsys.Self().String()+"-"); err != nil { // of mode 0700
		return nil, fmt.Errorf("making a private folder for the job: %w", err)
	}
	if w.lock, err = os.Open(w.dir); err == nil {
		// Where there are no locks, the name says whose it is.
		_, err = new(fsys.Calls).Lock(w.lock)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(w.dir))
	}
	w.base = filepath.Join(w.dir, "ml")
	w.why = fmt.Sprintf("the job's plaintext is in %s (%s) and is deleted at the end", w.dir, why)
	return w, nil
}

func (w *workspace) remove() error {
	defer w.lock.Close()
	// A script may have made folders that its owner cannot write to.
	filepath.WalkDir(w.dir, func(name string, e os.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			os.Chmod(name, 0o700)
		}
		return nil
	})
	if err := os.RemoveAll(w.dir); err != nil {
		return fmt.Errorf("plaintext is left in %s; delete it: %w", w.dir, err)
	}
	return nil
}

// removeLeftovers removes the folders of runs of this user that were killed.
func removeLeftovers(parent string) {
	found, _ := filepath.Glob(filepath.Join(parent, workPrefix+"*"))
	for _, dir := range found {
		f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Fstat(int(f.Fd()), &st) == nil && int(st.Uid) == os.Geteuid() {
			name := strings.TrimPrefix(filepath.Base(dir), workPrefix)
			if fate, err := new(fsys.Calls).FateOf(f, name); err == nil && fate == fsys.Dead {
				(&workspace{dir: dir, lock: f}).remove()
				continue
			}
		}
		f.Close()
	}
}

// choose finds a place for the plaintext: memory where it fits well, so that
// nothing of it is ever on a disk, or else the folder for temporary files.
func (j *Job) choose() (dir, why string, err error) {
	if j.Dir != "" {
		return j.Dir, "as --work-dir says", nil
	}
	need := int64(64 << 20)
	for _, s := range j.Sealed {
		t := s.Version.Totals
		// The packs, and while they are opened some files beside them.
		need += t.SealedBytes + t.Files*4096 + min(t.Bytes, 1<<30)
	}
	for _, dir := range j.Plain {
		n, err := folderSize(dir)
		if err != nil {
			return "", "", err
		}
		need += n
	}
	var st unix.Statfs_t
	// Not more than half of what is free: the training needs memory too.
	if unix.Statfs(memoryFS, &st) == nil && isMemory(&st) && int64(st.Bavail)*int64(st.Bsize)/2 >= need && availableMemory()/2 >= need {
		return memoryFS, "in memory", nil
	}
	return os.TempDir(), "on disk: it does not fit into memory", nil
}

func folderSize(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size() + 4096
		}
		return err
	})
	return n, err
}

// availableMemory is MemAvailable of /proc/meminfo in bytes, 0 where unknown.
func availableMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "MemAvailable:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}
