package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/jobs"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/packs"
	"github.com/vaultpack/vaultpack/internal/place"
	"github.com/vaultpack/vaultpack/internal/walk"
)

// Against compares every file, link and folder of the version with a folder: contents,
// permissions and, as precisely as the folder's file system stores them, times.
// Entries that only the folder has also differ, except the vault, its keys, and
// leftovers of killed restores. If anything differs, Against returns a
// [*dataset.PartialError]. The Result is valid in any case.
func Against(ctx context.Context, v *dataset.Version, dir string, opts Options) (Result, error) {
	if err := jobs.Check(ctx, v); err != nil {
		return Result{}, err
	}
	if err := opts.Shard.Check(v); err != nil {
		return Result{}, err
	}
	c := newJob(opts)
	err := objects.Of(v).During(ctx, func(ctx context.Context) error { return c.against(ctx, v, dir) })
	return c.result(), c.fails.End("verify", err)
}

func (c *job) against(ctx context.Context, v *dataset.Version, dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("not a folder")
	}
	if err != nil {
		return fmt.Errorf("comparing with %s: %w", dir, err)
	}
	var window []*tree.Entry
	weight := 0
	for e, err := range c.Shard.All(ctx, v) {
		if err != nil {
			return err
		}
		if c.Select != nil && !c.Select(e) {
			continue
		}
		c.Entries.Add(1)
		if err := c.compareAttributes(dir, e); err != nil {
			c.fail(&dataset.FileError{Path: e.Name(), Err: err})
			continue
		}
		if !e.IsFile() {
			continue
		}
		window = append(window, e)
		if weight += codec.Weight(e); len(window) == verifyWindow || weight >= codec.MaxWeight {
			if err := c.compare(ctx, v, dir, window); err != nil {
				return err
			}
			window, weight = nil, 0
		}
	}
	if err := c.compare(ctx, v, dir, window); err != nil {
		return err
	}
	return c.extras(ctx, v, dir)
}

// compare compares the contents of a window of files, and their recorded sums.
func (c *job) compare(ctx context.Context, v *dataset.Version, dir string, window []*tree.Entry) error {
	var mu sync.Mutex
	bad := map[*tree.Entry]bool{}
	err := packs.ReadExtents(ctx, objects.Of(v), window, func(e *tree.Entry, x tree.Extent, r io.Reader) error {
		return c.compareExtent(filepath.Join(dir, e.Path), e, x, r)
	}, func(e *tree.Entry, err error) {
		mu.Lock()
		told := bad[e]
		bad[e] = true
		mu.Unlock()
		if !told && ctx.Err() == nil {
			c.fail(&dataset.FileError{Path: e.Name(), Err: err})
		}
	})
	if err != nil {
		return err
	}
	for _, e := range window {
		if e.Sum == nil || len(e.Extents) == 1 || bad[e] {
			continue
		}
		// The bytes are those in the folder, where they lie in order.
		f, err := os.Open(filepath.Join(dir, e.Path))
		if err == nil {
			err = place.CheckSum(e, f)
			f.Close()
		}
		if err != nil {
			c.fail(&dataset.FileError{Path: e.Name(), Err: err})
		}
	}
	return ctx.Err()
}

// extras reports what the folder has and the version does not.
func (c *job) extras(ctx context.Context, v *dataset.Version, dir string) error {
	own, err := walk.OwnBelow(objects.Of(v).Vault, dir)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	from := ""
	if c.Shard != nil {
		from = c.Shard.From
	}
	at := walk.NewCursor(ctx, v, from)
	defer at.Stop()
	enter := func(p string, d fs.DirEntry) error {
		if walk.IsOwn(own, p) || d.IsDir() && walk.IsStaging(d.Name()) {
			return fs.SkipDir
		}
		if !c.Shard.Has(p) {
			if d.IsDir() && !c.Shard.Meets(p) {
				return fs.SkipDir
			}
			return nil // another shard
		}
		known, err := at.Find(p)
		if err != nil {
			return err
		}
		if known == nil && (c.Select == nil || c.Select(&tree.Entry{Path: p})) {
			c.fail(&dataset.FileError{Path: strings.TrimSuffix(p, "/"), Err: fmt.Errorf("%w: it is not in the version", dataset.ErrDiffers)})
		}
		return nil
	}
	if c.FollowLinks {
		return (&linkWalk{enter: enter}).folder(ctx, walked{dir: dir})
	}
	return (&walk.Tree{Root: root, Enter: enter}).Folder(ctx, "")
}

// A linkWalk walks a folder in the order of an index, like an upload that follows links:
// links stand for their targets. It does not enter folders that it is already in, nor
// folders that it has reached too often through other links: an upload does not enter
// those either, and reports it.
type linkWalk struct {
	enter func(p string, d fs.DirEntry) error
	above []fs.FileInfo // the folders that the walk is in
	ways  map[[2]uint64]int
}

// maxLinkWays is the number of paths to a folder that an upload follows.
const maxLinkWays = 100

// A walked is a folder being walked.
type walked struct {
	dir        string
	prefix     string // its path in the index
	behindLink bool   // the path to it leads through a link
}

func (w *linkWalk) folder(ctx context.Context, at walked) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	self, err := os.Stat(at.dir)
	if err != nil {
		return err
	}
	w.above = append(w.above, self)
	defer func() { w.above = w.above[:len(w.above)-1] }()
	entries, err := os.ReadDir(at.dir)
	if err != nil {
		return err
	}
	type named struct {
		path   string
		isLink bool
		fs.DirEntry
	}
	var all []named
	for _, d := range entries {
		n := named{at.prefix + d.Name(), d.Type() == fs.ModeSymlink, d}
		if info, err := os.Stat(filepath.Join(at.dir, d.Name())); err == nil {
			n.DirEntry = fs.FileInfoToDirEntry(info)
			if info.IsDir() {
				if n.isLink && !w.enters(info, at.behindLink) {
					continue
				}
				n.path += "/"
			}
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b named) int { return strings.Compare(a.path, b.path) })
	for _, d := range all {
		err := w.enter(d.path, d.DirEntry)
		if err == nil && d.IsDir() {
			err = w.folder(ctx, walked{filepath.Join(at.dir, d.Name()), d.path, at.behindLink || d.isLink})
		}
		if err != nil && !errors.Is(err, fs.SkipDir) {
			return err
		}
	}
	return nil
}

// enters reports whether a folder is entered that a link leads to.
func (w *linkWalk) enters(info fs.FileInfo, behindLink bool) bool {
	if slices.ContainsFunc(w.above, func(a fs.FileInfo) bool { return os.SameFile(a, info) }) {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !behindLink {
		return true
	}
	if w.ways == nil {
		w.ways = map[[2]uint64]int{}
	}
	id := [2]uint64{uint64(st.Dev), st.Ino}
	w.ways[id]++
	return w.ways[id] <= maxLinkWays
}

func (c *job) compareAttributes(dir string, e *tree.Entry) error {
	name := filepath.Join(dir, e.Path)
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it is not in the folder", dataset.ErrDiffers)
	}
	if err != nil {
		return err
	}
	want := fs.FileMode(0)
	switch {
	case e.IsDir():
		want = fs.ModeDir
	case e.IsLink():
		want = fs.ModeSymlink
	}
	isLink := info.Mode().Type() == fs.ModeSymlink
	if isLink && (e.Path == "" || c.FollowLinks && !e.IsLink()) {
		if info, err = os.Stat(name); err != nil { // the folder may be given as a link
			return err
		}
	}
	switch {
	case isLink && !e.IsLink() && info.Mode().Type() == fs.ModeSymlink:
		return fmt.Errorf("%w: it is a link in the folder; --links follow compares its target, as an upload with --links follow does", dataset.ErrDiffers)
	case info.Mode().Type() != want:
		return fmt.Errorf("%w: it is of a different kind in the folder", dataset.ErrDiffers)
	case e.IsFile() && info.Size() != e.Size:
		return fmt.Errorf("%w: %d bytes in the vault, %d in the folder", dataset.ErrDiffers, e.Size, info.Size())
	case !e.IsLink() && info.Mode()&fsys.ModeMask != e.Mode:
		return fmt.Errorf("%w: mode %v in the vault, %v in the folder", dataset.ErrDiffers, e.Mode, info.Mode()&fsys.ModeMask)
	case !place.HeldTime(info.ModTime(), e.ModTime):
		return fmt.Errorf("%w: modified at %v in the vault, at %v in the folder", dataset.ErrDiffers, e.ModTime, info.ModTime())
	}
	if e.IsLink() {
		target, err := os.Readlink(name)
		if err != nil {
			return err
		}
		if target != e.Link {
			return fmt.Errorf("%w: the link leads to %q in the vault, to %q in the folder", dataset.ErrDiffers, e.Link, target)
		}
	}
	return nil
}

// compareExtent compares a run of a file's bytes, and the sum of a file that consists of
// one run.
func (c *job) compareExtent(name string, e *tree.Entry, x tree.Extent, r io.Reader) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if e.Sum != nil && len(e.Extents) == 1 {
		r = io.TeeReader(r, sum)
	}
	here := io.NewSectionReader(f, x.At, x.Length)
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(r, a)
		if _, herr := io.ReadFull(here, b[:n]); herr != nil && n > 0 || !bytes.Equal(a[:n], b[:n]) {
			return fmt.Errorf("%w: the contents differ", dataset.ErrDiffers)
		}
		c.Bytes.Add(int64(n))
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if e.Sum != nil && len(e.Extents) == 1 && !bytes.Equal(sum.Sum(nil), e.Sum) {
		return packs.ErrSHA256
	}
	return nil
}
