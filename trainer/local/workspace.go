package local

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
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
// as long as its run lives, so that the next run can tell what a killed one has left.
const workPrefix = "vaultpack-train-"

const (
	memoryFS = "/dev/shm"
	diskFS   = "/var/tmp"
)

func newWorkspace(j *Job) (*workspace, error) {
	parent, why, err := j.choose()
	if err != nil {
		return nil, err
	}
	for _, dir := range workDirs(parent) {
		removeLeftovers(dir, j.Logf)
	}
	w := &workspace{}
	for range 100 {
		if err = w.create(parent); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	w.base = filepath.Join(w.dir, "ml")
	w.why = fmt.Sprintf("the job's plaintext is in %s (%s) and is deleted at the end", w.dir, why)
	return w, nil
}

// create makes the folder, and locks it. The error wraps fs.ErrNotExist if another run has
// taken it for that of a killed one before it was locked, and removed it.
func (w *workspace) create(parent string) (err error) {
	if w.dir, err = os.MkdirTemp(parent, workPrefix+fsys.Self().String()+"-"); err != nil { // of mode 0700
		return fmt.Errorf("making a private folder for the job: %w", err)
	}
	if w.lock, err = os.Open(w.dir); err != nil {
		return errors.Join(err, os.RemoveAll(w.dir))
	}
	// Where there are no locks, the name says whose it is.
	_, err = new(fsys.Calls).Lock(w.lock)
	if err == nil {
		_, err = os.Stat(w.dir)
	}
	if err != nil {
		return errors.Join(err, w.lock.Close(), os.RemoveAll(w.dir))
	}
	return nil
}

func (w *workspace) close() error {
	if w.lock == nil {
		return nil
	}
	return w.lock.Close()
}

func (w *workspace) remove() error {
	// The results go in one step. What a run that is killed here leaves has none.
	if err := errors.Join(discard(filepath.Join(w.dir, "ml")), removeTree(w.dir)); err != nil {
		return fmt.Errorf("plaintext is left in %s; delete it: %w", w.dir, err)
	}
	return nil
}

// strip removes all but the results, and the record of whose they are.
func (w *workspace) strip() error {
	hosts, err := hostDirs(w.dir) // whose results could not be gathered
	errs := []error{err}
	kept := map[string][]string{w.dir: {filepath.Base(w.base), recordName, exitName}}
	for _, h := range append([]string{w.dir}, hosts...) {
		base := filepath.Join(h, filepath.Base(w.base))
		kept[base], kept[filepath.Join(base, "output")] = []string{"model", "output", checkpointsName}, []string{"data", "failure"}
		if h != w.dir {
			kept[h] = []string{filepath.Base(w.base)}
			kept[w.dir] = append(kept[w.dir], filepath.Base(h))
		}
	}
	for dir, keep := range kept {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		errs = append(errs, err)
		for _, e := range entries {
			if !slices.Contains(keep, e.Name()) {
				errs = append(errs, removeTree(filepath.Join(dir, e.Name())))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("plaintext of the dataset is left in %s; delete it: %w", w.dir, err)
	}
	return nil
}

// discardedPrefix begins the names of folders that are being removed.
const discardedPrefix = ".discarded-"

// discard removes results. Their folder is renamed first, so that the part of them that is
// left by a killed run, or that cannot be removed, is not taken for results that were not
// delivered.
func discard(dir string) error {
	to := filepath.Join(filepath.Dir(dir), discardedPrefix+rand.Text())
	err := os.Rename(dir, to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return removeTree(to)
}

// removeTree is os.RemoveAll for a script that has made folders which their owner cannot
// write to.
func removeTree(dir string) error {
	filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			os.Chmod(name, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// leastForModel is what is to be free for what a job makes, beside the dataset. How much
// that will be is not known; the larger the dataset, the larger it may be.
const leastForModel = 2 << 30

// choose finds a place for the plaintext, before any of it is made: memory where it and
// a model fit well, so that nothing of it is ever on a disk, or else a folder for
// temporary files.
func (j *Job) choose() (dir, why string, err error) {
	need, model := int64(64<<20), int64(leastForModel)
	hosts := int64(0)
	for _, g := range j.Groups {
		hosts += int64(max(g.Count, 1))
	}
	hosts = min(max(hosts, 1), MaxHosts)
	for _, s := range j.Sealed {
		t, n := s.Version.Totals, hosts
		if s.Sharded {
			n = 1
		}
		// The packs, and while they are opened some files beside them.
		need += n*(t.SealedBytes+t.Files*4096) + min(t.Bytes, 1<<30)
		model = max(model, t.Bytes)
	}
	if j.Saved != nil && j.Saved.Version != nil {
		need += hosts * (j.Saved.Version.Totals.Bytes + j.Saved.Version.Totals.Files*4096)
	}
	need += hosts * j.remoteBytes
	folders := slices.Collect(maps.Values(j.Plain))
	if j.Checkpoints.Folder != "" {
		folders = append(folders, j.Checkpoints.Folder)
	}
	for _, dir := range folders {
		n, err := folderSize(dir)
		if err != nil {
			return "", "", err
		}
		need += hosts * n
	}
	if j.Dir != "" {
		if _, err := os.Stat(j.Dir); err != nil {
			return "", "", fmt.Errorf("the folder for the job's data: %w", err)
		}
		if free := freeSpace(j.Dir); free < need {
			return "", "", noRoom(j.Dir, need, free)
		}
		return j.Dir, "as --work-dir says", nil
	}
	var st unix.Statfs_t
	// Not more than half of what is free: the training needs memory too.
	if unix.Statfs(memoryFS, &st) == nil && isMemory(&st) && freeSpace(memoryFS)/2 >= need+model && availableMemory()/2 >= need+model {
		return memoryFS, "in memory", nil
	}
	const onDisk = "on disk: it does not fit into memory"
	for _, want := range []int64{need + model, need} {
		for _, dir := range []string{os.TempDir(), diskFS} {
			if freeSpace(dir) >= want {
				return dir, onDisk, nil
			}
		}
	}
	return "", "", noRoom(os.TempDir(), need, freeSpace(os.TempDir()))
}

func noRoom(dir string, need, free int64) error {
	return fmt.Errorf("not enough space for the job's data in %s: %d bytes are needed, and %d are free; set another folder with --work-dir: %w", dir, need, free, syscall.ENOSPC)
}

// freeSpace is what this user can write below dir in bytes; 0 where that cannot be told.
func freeSpace(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return int64(st.Bavail) * int64(st.Bsize)
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
