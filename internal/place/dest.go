// Package place puts files, links and folders of a version into a folder on disk: each is
// staged beside the others first, and moved to its place when it is whole. Restoring and
// the opening of training channels stand on it.
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

// A Dest is a folder that entries are placed in: each is made in a staging folder first,
// and moved to its place when it is whole. No link below the folder is followed.
type Dest struct {
	Root    *os.Root // nil in a dry run where there is no folder
	StageFD int      // the staging folder
	// PreserveSetID keeps set-user-ID and set-group-ID bits.
	PreserveSetID bool
	// NoModes and NoTimes are set where the file system does not keep modes, or times.
	NoModes, NoTimes *atomic.Bool
	Bytes            *atomic.Int64 // written

	seq    atomic.Int64
	last   openFolder
	mu     sync.Mutex
	staged map[*tree.Entry]*stagedFile // by prepare
}

// NewDest is a folder in which files are staged in another, both of which stay the
// caller's.
func NewDest(root *os.Root, stageFD int, bytes *atomic.Int64) *Dest {
	return &Dest{Root: root, StageFD: stageFD, Bytes: bytes, NoModes: new(atomic.Bool), NoTimes: new(atomic.Bool)}
}

// Prepare makes the dest ready for staging the files, and forgets those before.
func (d *Dest) Prepare(files []*tree.Entry) {
	d.staged = make(map[*tree.Entry]*stagedFile, len(files))
	for _, e := range files {
		d.staged[e] = &stagedFile{}
	}
}

// Adopt makes a file in the staging folder, open as f, that of an entry.
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

// Complete moves a staged file to its place, once it has its mode and time, and tells
// what is there then.
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

// MakeFolder makes a folder that its owner can write to, or lets the owner write to one
// that is there.
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

// CloseFolder gives a folder its mode and time. there is false where it could not be made,
// which was told then.
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

// IsLink reports whether the link of the entry is there.
func (d *Dest) IsLink(e *tree.Entry) (bool, error) {
	dir, err := d.MakeParent(e)
	return err == nil && Readlink(dir, path.Base(e.Path)) == e.Link, err
}

// SetLinkTime sets the time of a link that is there.
func (d *Dest) SetLinkTime(e *tree.Entry) error {
	dir, err := d.Parent(e)
	if err != nil {
		return err
	}
	return d.setTime(dir, path.Base(e.Path), e.ModTime)
}

// StageLink makes a symbolic link in the staging folder, under the name that it returns
// also where the link has no time yet.
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

// PlaceLink makes a link that leads nowhere else than into the folder.
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

// SetFolderTime sets the time of a folder of the destination, or of that itself.
func (d *Dest) SetFolderTime(e *tree.Entry, t time.Time) error {
	dir, err := d.Parent(e)
	if err != nil {
		return err
	}
	return d.setTime(dir, path.Base(e.Name()), t)
}

// CloseLast lets go of the folder that was used last: who removes or renames one calls it
// first, and who is done with the dest.
func (d *Dest) CloseLast() { d.last.close() }

// Fail tells that a file could not be staged.
func (d *Dest) Fail(e *tree.Entry, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.staged[e]; s.err == nil {
		s.err = err
	}
}

// Failure is why a file could not be staged, once all has been read.
func (d *Dest) Failure(e *tree.Entry) error { return d.staged[e].err }

// Name is what a file is named in the staging folder; empty where it is not there.
func (d *Dest) Name(e *tree.Entry) string { return d.staged[e].name }
