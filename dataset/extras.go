package dataset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/vault"
)

// read gives what lies in a folder in the order of an index.
func (w *treeWalk) read(dir string) ([]fs.DirEntry, error) {
	f, err := openBelow(w.root, nil, dir)
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
		err := lstat(int(f.Fd()), name, &st)
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

// cursor begins at the path from.
func (v *Version) cursor(ctx context.Context, from string) *cursor {
	c := &cursor{}
	c.next, c.stop = iter.Pull2(v.EntriesFrom(ctx, from))
	return c
}

// deleteExtras removes what is selected in the destination and not in the version.
func (r *Restore) deleteExtras(ctx context.Context) error {
	if !r.Delete || r.root == nil {
		return nil
	}
	c := r.version.cursor(ctx, "")
	defer c.stop()
	remove := func(p string) error {
		e := &tree.Entry{Path: p}
		if r.Select != nil && !r.Select(e) {
			return nil
		}
		return r.remove(e)
	}
	extra := map[string]bool{} // folders that are being gone through
	w := &treeWalk{root: r.root, enter: func(p string, d fs.DirEntry) error {
		if r.isOwn(p) || d.IsDir() && isStaging(d.Name()) {
			return fs.SkipDir
		}
		known, err := c.find(p)
		if err != nil || known != nil || isOwn(r.keep, p) {
			return err
		}
		switch {
		case d.IsDir():
			if info, err := d.Info(); err == nil && info.Mode()&0o500 != 0o500 {
				r.openUp(p) // so that it can be gone through
			}
			extra[p] = true
			return nil
		case d.Type().IsRegular() && r.isKey(p) && (r.Select == nil || r.Select(&tree.Entry{Path: p})):
			r.fail(&tree.Entry{Path: p}, errIsKey)
			return nil
		}
		return remove(p)
	}, leave: func(p string) error {
		if !extra[p] {
			return nil
		}
		delete(extra, p)
		return remove(p)
	}}
	return w.folder(ctx, "")
}

// remove removes one path of the destination. A folder that something is left in, which
// was not to be removed, stays.
func (r *Restore) remove(e *tree.Entry) error {
	if r.DryRun {
		r.Deleted.Add(1)
		r.tell(Remove, e)
		return nil
	}
	flags := 0
	if e.IsDir() {
		flags = unix.AT_REMOVEDIR
		r.last.close()
	}
	unlink := func() error {
		dir, err := r.parent(e)
		if err != nil {
			return err
		}
		return retry("remove", e.Path, func() error { return unix.Unlinkat(dir, path.Base(e.Name()), flags) })
	}
	err := unlink()
	if errors.Is(err, fs.ErrPermission) && r.openUp(parentOf(e)) {
		err = unlink()
	}
	switch {
	case err == nil:
		r.Deleted.Add(1)
		r.tell(Remove, e)
	case errors.Is(err, fs.ErrNotExist), e.IsDir() && (errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST)):
	default:
		r.fail(e, err)
	}
	return nil
}

// An ownPath is something of the vault that lies below a folder: the vault itself, or
// a file with a key.
type ownPath string

var errOwn = errors.New("the vault or one of its keys is there, which are never replaced or removed")

// isOwn reports whether a path, without a slash at its end, is the vault or a key, or
// lies in it, or would take the place of a folder that holds it.
func (r *Restore) isOwn(p string) bool { return isOwn(r.own, p) }

func isOwn(own []ownPath, p string) bool {
	p = strings.TrimSuffix(p, "/")
	for _, o := range own {
		if p == string(o) || strings.HasPrefix(p, string(o)+"/") {
			return true
		}
	}
	return false
}

// holdsOwn reports whether the vault or a key is at a path, in it or above it.
func (r *Restore) holdsOwn(p string) bool {
	for _, o := range slices.Concat(r.own, r.keep) {
		if strings.HasPrefix(string(o), p+"/") {
			return true
		}
	}
	return r.isOwn(p)
}

// checkDestination refuses a folder that is the vault, or lies in it, or holds it beside
// what would be written.
func checkDestination(v *vault.Vault, dir string) error {
	if v.Location == "" || strings.Contains(v.Location, "://") {
		return nil
	}
	rel, err := relative(dir, v.Location)
	switch {
	case err != nil:
		return err
	case rel == ".":
		return fmt.Errorf("%s is the vault itself; choose another folder", dir)
	case strings.Trim(rel, "./") == "":
		return fmt.Errorf("%s lies in the vault %s; choose another folder", dir, v.Location)
	case !strings.Contains(rel, "/"):
		return fmt.Errorf("%s is the folder that holds the vault %s; choose another folder, such as %s", dir, v.Location, filepath.Join(dir, "restored"))
	}
	return nil
}

// relative is the path from dir to a file, with links resolved.
func relative(dir, name string) (string, error) {
	from, err := realPath(dir)
	if err != nil {
		return "", err
	}
	to, err := realPath(name)
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(from, to)
	return filepath.ToSlash(rel), err
}

// ownBelow finds what of the vault lies below dir.
func ownBelow(v *vault.Vault, dir string) (own []ownPath, err error) {
	names := []string{}
	if v.Location != "" && !strings.Contains(v.Location, "://") {
		names = append(names, v.Location)
	}
	if v.Keys != nil {
		names = append(names, v.Keys.Names...)
	}
	return below(dir, names)
}

// below gives those of the files that there are, and that lie below dir.
func below(dir string, names []string) (own []ownPath, err error) {
	for _, name := range names {
		if _, err := os.Stat(name); err != nil {
			continue // the ARN of a key in KMS
		}
		rel, err := relative(dir, name)
		if err != nil {
			return nil, err
		}
		if rel != "." && rel != ".." && !strings.HasPrefix(rel, "../") {
			own = append(own, ownPath(rel))
		}
	}
	return own, nil
}

// realPath is the absolute path without links, of a file that need not exist yet.
func realPath(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(abs) == abs {
		return real, err
	}
	above, err := realPath(filepath.Dir(abs))
	return filepath.Join(above, filepath.Base(abs)), err
}

// A statEntry is what lies in a folder, with what is known of it.
type statEntry struct {
	name string
	st   unix.Stat_t
}

func (e *statEntry) Name() string               { return e.name }
func (e *statEntry) IsDir() bool                { return e.Mode().IsDir() }
func (e *statEntry) Type() fs.FileMode          { return e.Mode().Type() }
func (e *statEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e *statEntry) Size() int64                { return e.st.Size }
func (e *statEntry) ModTime() time.Time         { return modTime(&e.st) }
func (e *statEntry) Sys() any                   { return &e.st }

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
