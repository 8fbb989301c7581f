// Package place puts files, links and folders of a version into a folder on disk: each is
// first staged in a folder of its own, and moved to its place when it is complete. It is
// used for restoring, and for opening training channels.
package place

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
)

// A Dest is a folder that entries are placed in: each is first made in a staging folder,
// and moved to its place when it is complete. No link below the folder is followed.
type Dest struct {
	Root    *os.Root // nil in a dry run if there is no folder
	StageFD int      // the staging folder
	// PreserveSetID keeps set-user-ID and set-group-ID bits.
	PreserveSetID bool
	// NoModes and NoTimes are set if the file system does not keep modes, or times.
	NoModes, NoTimes *atomic.Bool
	Bytes            *atomic.Int64 // written

	seq    atomic.Int64
	last   openFolder
	mu     sync.Mutex
	staged map[*tree.Entry]*stagedFile // by Prepare
}

// NewDest returns a Dest whose files are staged in another folder. The caller still
// owns both folders.
func NewDest(root *os.Root, stageFD int, bytes *atomic.Int64) *Dest {
	return &Dest{Root: root, StageFD: stageFD, Bytes: bytes, NoModes: new(atomic.Bool), NoTimes: new(atomic.Bool)}
}

// Prepare prepares the Dest for staging the files, and forgets earlier ones.
func (d *Dest) Prepare(files []*tree.Entry) {
	d.staged = make(map[*tree.Entry]*stagedFile, len(files))
	for _, e := range files {
		d.staged[e] = &stagedFile{}
	}
}

// Adopt makes f, an open file in the staging folder, the file of an entry.
func (d *Dest) Adopt(e *tree.Entry, name string, f *os.File) {
	d.staged = map[*tree.Entry]*stagedFile{e: {name: name, f: f}}
}

// Discard removes what is staged.
func (d *Dest) Discard() {
	for _, s := range d.staged {
		if s.f != nil {
			s.f.Close()
		}
		if s.name != "" {
			unix.Unlinkat(d.StageFD, s.name, 0)
		}
	}
}

// Complete moves a staged file, which has its mode and time, to its place, and returns
// what is then there.
func (d *Dest) Complete(e *tree.Entry) (st unix.Stat_t, err error) {
	s := d.staged[e]
	if f := s.f; f != nil {
		s.f = nil
		if err := d.finish(e, s.name, int(f.Fd()), f.Close, CheckSum(e, f)); err != nil {
			return st, err
		}
	}
	if err := d.Place(s.name, e); err != nil {
		return st, err
	}
	s.name = ""
	dir, err := d.Parent(e)
	if err != nil {
		return st, err
	}
	return st, Lstat(dir, path.Base(e.Path), &st)
}

// MakeFolder makes a folder that its owner can write to, or lets the owner write to an
// existing one.
func (d *Dest) MakeFolder(e *tree.Entry) error {
	if e.Path == "" {
		return nil
	}
	dir, err := d.MakeParent(e)
	if err != nil {
		return err
	}
	base := path.Base(e.Name())
	err = Retry("mkdir", e.Path, func() error { return unix.Mkdirat(dir, base, 0o700) })
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := Lstat(dir, base, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return errors.New("a file or a link is in the place of this folder")
	}
	if st.Mode&0o700 == 0o700 {
		return nil
	}
	return Retry("chmod", e.Path, func() error { return unix.Fchmodat(dir, base, uint32(st.Mode)&0o7777|0o700, 0) })
}

// CloseFolder sets the mode and time of a folder. there is false if the folder could not
// be made, which has been reported.
func (d *Dest) CloseFolder(e *tree.Entry) (there bool, err error) {
	f, err := OpenBelow(d.Root, &d.last, e.Path)
	var not *NotFolderError
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &not) {
		return false, nil
	}
	if err == nil {
		err = d.Chmod(int(f.Fd()), e.Path, d.mode(e))
		if f != d.last.f {
			f.Close()
		}
	}
	if err == nil {
		err = d.SetFolderTime(e, e.ModTime)
	}
	return true, err
}

// IsLink reports whether the link of the entry exists.
func (d *Dest) IsLink(e *tree.Entry) (bool, error) {
	dir, err := d.MakeParent(e)
	return err == nil && Readlink(dir, path.Base(e.Path)) == e.Link, err
}

// SetLinkTime sets the time of an existing link.
func (d *Dest) SetLinkTime(e *tree.Entry) error {
	dir, err := d.Parent(e)
	if err != nil {
		return err
	}
	return d.setTime(dir, path.Base(e.Path), e.ModTime)
}

// StageLink makes a symbolic link in the staging folder. It returns the link's name even
// if its time could not be set.
func (d *Dest) StageLink(e *tree.Entry) (name string, err error) {
	name = d.StageName()
	err = Retry("symlink", e.Path, func() error { return unix.Symlinkat(e.Link, d.StageFD, name) })
	if fsys.NoAttributes(err) {
		return "", fmt.Errorf("the file system of the destination has no symbolic links: %w", err)
	}
	if err != nil {
		return "", err
	}
	if err := d.setTime(d.StageFD, name, e.ModTime); err != nil {
		d.Unstage(name)
		return "", err
	}
	return name, nil
}

// Unstage removes what was staged under a name.
func (d *Dest) Unstage(name string) { unix.Unlinkat(d.StageFD, name, 0) }

// PlaceLink makes a link that does not lead out of the folder.
func (d *Dest) PlaceLink(e *tree.Entry) error {
	if err := d.CheckLink(e); err != nil {
		return err
	}
	if there, err := d.IsLink(e); err != nil {
		return err
	} else if there {
		return d.SetLinkTime(e)
	}
	name, err := d.StageLink(e)
	if err != nil {
		return err
	}
	if err := d.Place(name, e); err != nil {
		d.Unstage(name)
		return err
	}
	return nil
}

// PlaceEmpty makes a file that lies in no pack.
func (d *Dest) PlaceEmpty(e *tree.Entry) error {
	d.Prepare([]*tree.Entry{e})
	if err := d.stageSmall(e, strings.NewReader("")); err != nil {
		return err
	}
	return d.Place(d.staged[e].name, e)
}

// SetFolderTime sets the time of the destination, or of a folder in it.
func (d *Dest) SetFolderTime(e *tree.Entry, t time.Time) error {
	dir, err := d.Parent(e)
	if err != nil {
		return err
	}
	return d.setTime(dir, path.Base(e.Name()), t)
}

// CloseLast closes the folder that was used last. Call it before removing or renaming a
// folder, and at the end.
func (d *Dest) CloseLast() { d.last.close() }

// Fail records that a file could not be staged.
func (d *Dest) Fail(e *tree.Entry, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.staged[e]; s.err == nil {
		s.err = err
	}
}

// Failure returns why a file could not be staged, once everything has been read.
func (d *Dest) Failure(e *tree.Entry) error { return d.staged[e].err }

// Name returns the name of a file in the staging folder, or "" if it is not there.
func (d *Dest) Name(e *tree.Entry) string { return d.staged[e].name }
