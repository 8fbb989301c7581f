package dataset

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Restore writes the files of a version below a directory. Every file is
// written beside the tree first, and takes its place only when all of it is
// authentic and on disk; what was there before stays until then.
type Restore struct {
	// Select says which entries to restore; nil is all of them.
	Select func(*Entry) bool
	// UnsafeLinks also makes symbolic links that lead out of the directory.
	UnsafeLinks bool
	// Failed is told every file that could not be restored. It may be called
	// from several goroutines.
	Failed func(path string, err error)

	// Counters, to be read at any time.
	Files, Bytes   atomic.Int64 // written
	Unchanged      atomic.Int64 // files that were there already, by size and time
	Links, Folders atomic.Int64
	Failures       atomic.Int64

	version *Version
	root    *os.Root
	staging string
	stageFD int // the staging folder
	seq     atomic.Int64
	last    openFolder
	folders []*Entry // those selected so far, up to maxFolders
	more    bool     // there are more

	mu     sync.Mutex
	staged map[*Entry]*stagedFile // of the window
}

// A stagedFile is one being written beside the tree.
type stagedFile struct {
	name string   // in the staging folder
	f    *os.File // open while a file in several pieces is being written
	err  error
}

// Bounds of what is staged before it is synced and moved into place.
const (
	windowFiles = 64 << 10
	windowBytes = 1 << 30
)

// maxFolders is up to how many folders are kept until their attributes are set,
// some 30 MB; of more than these the index is read once more.
var maxFolders = 100_000 // a variable for the tests only

// stagingPrefix begins the name of the folder that files are written in first.
const stagingPrefix = ".vaultpack-restore-"

// Run restores the version to dir, which is made if needed. It returns an error
// only if it could not go on; files that failed are told to Failed.
func (r *Restore) Run(ctx context.Context, v *Version, dir string) error {
	r.version, r.folders, r.more = v, nil, false
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the destination: %w", err)
	}
	var err error
	if r.root, err = os.OpenRoot(dir); err != nil {
		return fmt.Errorf("opening the destination: %w", err)
	}
	defer r.root.Close()
	defer r.last.close()
	cleanUp, err := r.makeStaging()
	if err != nil {
		return fmt.Errorf("writing to the destination: %w", err)
	}
	defer cleanUp()
	if err := r.files(ctx); err != nil {
		return err
	}
	if err := r.folderAttributes(ctx); err != nil {
		return err
	}
	return syncFS(r.root)
}

// makeStaging makes and locks the staging folder, and removes those that killed
// runs have left.
func (r *Restore) makeStaging() (cleanUp func(), err error) {
	names, err := fs.Glob(r.root.FS(), stagingPrefix+"*")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if f, err := r.root.Open(name); err == nil {
			if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
				r.root.RemoveAll(name)
			}
			f.Close()
		}
	}
	r.staging = stagingPrefix + rand.Text()
	if err := r.root.Mkdir(r.staging, 0o700); err != nil {
		return nil, err
	}
	lock, err := r.root.Open(r.staging)
	if err != nil {
		return nil, err
	}
	r.stageFD = int(lock.Fd())
	syscall.Flock(r.stageFD, syscall.LOCK_EX)
	return func() {
		r.root.RemoveAll(r.staging)
		lock.Close()
	}, nil
}

func (r *Restore) fail(e *Entry, err error) {
	r.Failures.Add(1)
	if r.Failed != nil {
		r.Failed(e.Name(), err)
	}
}

// files makes the folders, files and links, window after window.
func (r *Restore) files(ctx context.Context) error {
	var window []*Entry
	var bytes int64
	weight, folders := 0, 0
	for e, err := range r.version.Entries(ctx) {
		if err != nil {
			return err
		}
		if r.Select != nil && !r.Select(e) {
			continue
		}
		switch {
		case e.IsDir():
			if err := r.folder(e); err != nil {
				r.fail(e, err)
			}
			if folders += e.weight(); !r.more && len(r.folders) < maxFolders && folders < maxWeight {
				r.folders = append(r.folders, e)
			} else {
				r.more = true
			}
			continue
		case e.IsFile() && r.isThere(e):
			r.Unchanged.Add(1)
			continue
		}
		window = append(window, e)
		bytes += e.Size
		weight += e.weight()
		if len(window) >= windowFiles || bytes >= windowBytes || weight >= maxWeight {
			if err := r.window(ctx, window); err != nil {
				return err
			}
			window, bytes, weight = nil, 0, 0
		}
	}
	return r.window(ctx, window)
}

// folder makes a folder that its owner can write to; its own mode comes last.
func (r *Restore) folder(e *Entry) error {
	name := e.Name()
	err := r.root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		err = r.root.MkdirAll(name, 0o700) // where the parent was not selected
	}
	if errors.Is(err, fs.ErrExist) || name == "." {
		info, err := r.root.Lstat(name)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return errors.New("something that is no folder is in the place of this folder; move it away and run the same command again")
		}
		if name != "." && info.Mode().Perm()&0o700 != 0o700 {
			return r.root.Chmod(name, 0o700)
		}
		return nil
	}
	return err
}

// window reads the entries' contents into the staging folder, waits until they
// are on disk, and moves them into place.
func (r *Restore) window(ctx context.Context, window []*Entry) error {
	if len(window) == 0 {
		return nil
	}
	r.staged = make(map[*Entry]*stagedFile, len(window))
	var files, links []*Entry
	for _, e := range window {
		r.staged[e] = &stagedFile{}
		if e.IsLink() {
			links = append(links, e)
		} else {
			files = append(files, e)
		}
	}
	failed := func(e *Entry, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if s := r.staged[e]; s.err == nil {
			s.err = err
		}
	}
	readErr := r.version.dataset.readExtents(ctx, files, r.stage, failed)
	for _, e := range files {
		s := r.staged[e]
		if s.f != nil {
			s.err = r.finish(e, s.name, int(s.f.Fd()), s.f.Close, s.err)
		}
		// Every file has an extent, but not in versions of other writers.
		if s.err == nil && s.name == "" {
			s.err = r.stageSmall(e, strings.NewReader(""))
		}
		if errors.Is(s.err, syscall.ENOSPC) || errors.Is(s.err, syscall.EDQUOT) {
			return fmt.Errorf("restoring %q: %w: make room and run the same command again; what is there already is kept", e.Path, s.err)
		}
	}
	if readErr != nil {
		return readErr
	}
	if err := syncFS(r.root); err != nil {
		return fmt.Errorf("writing to disk: %w", err)
	}
	for _, e := range files {
		s := r.staged[e]
		err := s.err
		if err == nil {
			err = r.place(s.name, e)
		}
		if err != nil {
			if s.name != "" {
				unix.Unlinkat(r.stageFD, s.name, 0)
			}
			r.fail(e, err)
			continue
		}
		r.Files.Add(1)
	}
	for _, e := range links {
		if err := r.link(e); err != nil {
			r.fail(e, err)
			continue
		}
		r.Links.Add(1)
	}
	return nil
}

// link makes a symbolic link, under another name first.
func (r *Restore) link(e *Entry) error {
	if !r.UnsafeLinks && leaves(e) {
		return fmt.Errorf("the link leads out of the destination, to %q; it is made only with --unsafe-links", e.Link)
	}
	if target, err := r.root.Readlink(e.Name()); err == nil && target == e.Link {
		dir, err := r.parent(e)
		if err != nil {
			return err
		}
		return setTime(dir, path.Base(e.Path), e.ModTime)
	}
	name := r.stageName()
	staged := path.Join(r.staging, name)
	if err := r.root.Symlink(e.Link, staged); err != nil {
		return err
	}
	if err := setTime(r.stageFD, name, e.ModTime); err != nil {
		return err
	}
	return r.place(name, e)
}

// leaves tells whether a link's target may lie outside the restored tree.
// Leading ".." elements start from a real folder and can be counted. Later ones
// may start from another link, so they are not trusted.
func leaves(e *Entry) bool {
	if filepath.IsAbs(e.Link) {
		return true
	}
	depth := strings.Count(e.parent(), "/")
	down := false
	for elem := range strings.SplitSeq(e.Link, "/") {
		switch elem {
		case "", ".":
		case "..":
			if depth--; depth < 0 || down {
				return true
			}
		default:
			down = true
		}
	}
	return false
}

// folderAttributes gives the folders their modes and times, each after all that
// lies in it.
func (r *Restore) folderAttributes(ctx context.Context) error {
	var open []*Entry // from the root down to the current folder
	closeTo := func(path string) {
		for n := len(open); n > 0 && !strings.HasPrefix(path, open[n-1].Path); n = len(open) {
			r.closeFolder(open[n-1])
			open = open[:n-1]
		}
	}
	next := func(e *Entry) {
		closeTo(e.Path)
		open = append(open, e)
	}
	for _, e := range r.folders {
		next(e)
	}
	if r.more {
		after := r.folders[len(r.folders)-1].Path
		for e, err := range r.version.EntriesFrom(ctx, after) {
			if err != nil {
				return err
			}
			if e.IsDir() && e.Path != after && (r.Select == nil || r.Select(e)) {
				next(e)
			}
		}
	}
	closeTo("\x00") // no path: a prefix of the root's only
	for n := len(open) - 1; n >= 0; n-- {
		if open[n].Path == "" {
			// The staging folder is removed from the root before its time is set.
			r.root.RemoveAll(r.staging)
		}
		r.closeFolder(open[n])
	}
	return nil
}

func (r *Restore) closeFolder(e *Entry) {
	name := e.Name()
	if info, err := r.root.Lstat(name); err != nil || !info.IsDir() {
		return // told already, when it could not be made
	}
	err := r.root.Chtimes(name, e.ModTime, e.ModTime)
	if err == nil {
		err = r.root.Chmod(name, e.Mode)
	}
	if err != nil {
		r.fail(e, err)
		return
	}
	r.Folders.Add(1)
}
