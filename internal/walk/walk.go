// Package walk walks a folder on disk in parallel with a version: in the order of an
// index, following no link, and skipping what belongs to vaultpack.
package walk

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/place"
)

// A Tree walks a folder on disk in the order of an index, without following any link.
type Tree struct {
	Root *os.Root
	// Enter is called for every entry; the path of a folder ends in a slash. If it
	// returns fs.SkipDir, the folder is skipped.
	Enter func(p string, d fs.DirEntry) error
	// Leave is called for each folder after everything in it. It may be nil.
	Leave func(p string) error
}

// Folder walks below a folder, whose path is empty or ends in a slash.
func (w *Tree) Folder(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := w.read(dir)
	if errors.Is(err, syscall.ENOENT) {
		return nil // removed in the meantime
	}
	if err != nil {
		return err
	}
	for _, d := range entries {
		p := dir + d.Name()
		if d.IsDir() {
			p += "/"
		}
		err := w.Enter(p, d)
		if errors.Is(err, fs.SkipDir) {
			continue
		}
		if err != nil {
			return err
		}
		if !d.IsDir() {
			continue
		}
		if err := w.Folder(ctx, p); err != nil {
			return err
		}
		if w.Leave != nil {
			if err := w.Leave(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// A Cursor finds entries by their paths, which must be looked up in order.
type cursor struct {
	next func() (*tree.Entry, error, bool)
	Stop func()
	at   *tree.Entry
	err  error
	end  bool
}

// Find returns the entry of the path, or nil.
func (c *cursor) Find(p string) (*tree.Entry, error) {
	for !c.end && c.err == nil && (c.at == nil || strings.Compare(c.at.Path, p) < 0) {
		var ok bool
		if c.at, c.err, ok = c.next(); !ok {
			c.end = true
		}
	}
	if c.err != nil || c.end || c.at.Path != p {
		return nil, c.err
	}
	return c.at, nil
}

// read returns the contents of a folder in the order of an index.
func (w *Tree) read(dir string) ([]fs.DirEntry, error) {
	f, err := place.OpenBelow(w.Root, nil, dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, 0, len(names))
	for _, name := range names {
		var st unix.Stat_t
		err := place.Lstat(int(f.Fd()), name, &st)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, &statEntry{name, st})
	}
	key := func(d fs.DirEntry) string {
		if d.IsDir() {
			return d.Name() + "/"
		}
		return d.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(key(a), key(b)) })
	return entries, nil
}

// A statEntry is something in a folder, with what is known about it.
type statEntry struct {
	name string
	st   unix.Stat_t
}

func (e *statEntry) Name() string { return e.name }

func (e *statEntry) IsDir() bool { return e.Mode().IsDir() }

func (e *statEntry) Type() fs.FileMode { return e.Mode().Type() }

func (e *statEntry) Info() (fs.FileInfo, error) { return e, nil }

func (e *statEntry) Size() int64 { return e.st.Size }

func (e *statEntry) ModTime() time.Time { return place.ModTime(&e.st) }

func (e *statEntry) Sys() any { return &e.st }

func (e *statEntry) Mode() fs.FileMode {
	m := fsys.GoMode(uint32(e.st.Mode) & 0o7777)
	switch e.st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return m
	case unix.S_IFDIR:
		return m | fs.ModeDir
	case unix.S_IFLNK:
		return m | fs.ModeSymlink
	}
	return m | fs.ModeIrregular
}

// NewCursor returns a Cursor that begins at the path from.
func NewCursor(ctx context.Context, v *dataset.Version, from string) *cursor {
	c := &cursor{}
	c.next, c.Stop = iter.Pull2(v.EntriesFrom(ctx, from))
	return c
}
