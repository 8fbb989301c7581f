package dataset

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
	"strings"
	"sync"
)

// ErrDiffers is told for what is authentic in the vault, and another in the
// folder that it is compared with.
var ErrDiffers = errors.New("differs")

// Against compares every file, link and folder of the version with a folder: contents,
// permissions and times, these as far as the folder's file system can hold them. What
// only the folder has differs too, but for the vault, its keys, and what killed
// restores have left. It returns a *PartialError if anything differs.
func (c *Verify) Against(ctx context.Context, v *Version, dir string) error {
	if err := checkRun(ctx, v, &c.used); err != nil {
		return err
	}
	return c.fails.end("verify", c.against(ctx, v, dir))
}

func (c *Verify) against(ctx context.Context, v *Version, dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("not a folder")
	}
	if err != nil {
		return fmt.Errorf("comparing with %s: %w", dir, err)
	}
	var window []*Entry
	weight := 0
	for e, err := range v.Entries(ctx) {
		if err != nil {
			return err
		}
		if c.Select != nil && !c.Select(e) {
			continue
		}
		c.Entries.Add(1)
		if err := compareAttributes(dir, e); err != nil {
			c.fail(&FileError{e.Name(), err})
			continue
		}
		if !e.IsFile() {
			continue
		}
		window = append(window, e)
		if weight += e.weight(); len(window) == windowFiles || weight >= maxWeight {
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
func (c *Verify) compare(ctx context.Context, v *Version, dir string, window []*Entry) error {
	var mu sync.Mutex
	bad := map[*Entry]bool{}
	err := v.dataset.readExtents(ctx, window, func(e *Entry, x Extent, r io.Reader) error {
		return c.compareExtent(filepath.Join(dir, e.Path), e, x, r)
	}, func(e *Entry, err error) {
		mu.Lock()
		told := bad[e]
		bad[e] = true
		mu.Unlock()
		if !told && ctx.Err() == nil {
			c.fail(&FileError{e.Name(), err})
		}
	})
	if err != nil {
		return err
	}
	for _, e := range window {
		if e.Sum == nil || len(e.Extents) == 1 || bad[e] {
			continue
		}
		// The bytes are those of the folder, in which they lie in their order.
		f, err := os.Open(filepath.Join(dir, e.Path))
		if err == nil {
			err = checkSum(e, f)
			f.Close()
		}
		if err != nil {
			c.fail(&FileError{e.Name(), err})
		}
	}
	return ctx.Err()
}

// extras tells what the folder has and the version has not.
func (c *Verify) extras(ctx context.Context, v *Version, dir string) error {
	own, err := ownBelow(v.dataset.vault, dir)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	at := v.cursor(ctx, "")
	defer at.stop()
	w := &treeWalk{root: root, enter: func(p string, d fs.DirEntry) error {
		if isOwn(own, p) || d.IsDir() && isStaging(d.Name()) {
			return fs.SkipDir
		}
		known, err := at.find(p)
		if err != nil {
			return err
		}
		if known == nil && (c.Select == nil || c.Select(&Entry{Path: p})) {
			c.fail(&FileError{strings.TrimSuffix(p, "/"), fmt.Errorf("%w: it is not in the version", ErrDiffers)})
		}
		return nil
	}}
	return w.folder(ctx, "")
}

func compareAttributes(dir string, e *Entry) error {
	name := filepath.Join(dir, e.Path)
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it is not in the folder", ErrDiffers)
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
	if info.Mode().Type() == fs.ModeSymlink && e.Path == "" {
		if info, err = os.Stat(name); err != nil { // the folder may be named by a link
			return err
		}
	}
	switch {
	case info.Mode().Type() != want:
		return fmt.Errorf("%w: it is of another kind in the folder", ErrDiffers)
	case e.IsFile() && info.Size() != e.Size:
		return fmt.Errorf("%w: %d bytes in the vault, %d in the folder", ErrDiffers, e.Size, info.Size())
	case !e.IsLink() && info.Mode()&modeMask != e.Mode:
		return fmt.Errorf("%w: mode %v in the vault, %v in the folder", ErrDiffers, e.Mode, info.Mode()&modeMask)
	case !heldTime(info.ModTime(), e.ModTime):
		return fmt.Errorf("%w: modified at %v in the vault, at %v in the folder", ErrDiffers, e.ModTime, info.ModTime())
	}
	if e.IsLink() {
		target, err := os.Readlink(name)
		if err != nil {
			return err
		}
		if target != e.Link {
			return fmt.Errorf("%w: the link leads to %q in the vault, to %q in the folder", ErrDiffers, e.Link, target)
		}
	}
	return nil
}

// compareExtent compares a run of a file's bytes, and the sum of a file that is no more
// than that.
func (c *Verify) compareExtent(name string, e *Entry, x Extent, r io.Reader) error {
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
			return fmt.Errorf("%w: the contents are others", ErrDiffers)
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
		return errSHA256
	}
	return nil
}
