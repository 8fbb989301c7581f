package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/place"
	"github.com/vaultpack/vaultpack/internal/walk"
	"github.com/vaultpack/vaultpack/internal/workers"
)

// maxFound is the most paths that an OccupiedError names.
const maxFound = 3

// errEnough ends a look that has found enough that is not in the version.
var errEnough = errors.New("enough")

// A look walks the folder once, in parallel with the version. The first one, before
// anything is written, also accepts a part of the version.
type look struct {
	*opening
	first    bool
	contents bool // compare all of them

	files, entries int64 // that are in the version
	unsummed       bool  // the index has no sums for one of the files
	bytes, checked atomic.Int64
	mu             sync.Mutex
	found          []*dataset.FileError // what is not
}

func (l *look) run(ctx context.Context) error {
	if l.contents {
		stop := l.Track("comparing", func() (int64, int64, int64, int64) {
			return l.bytes.Load(), l.version.Totals.Bytes, l.checked.Load(), 0
		})
		defer stop()
	}
	err := workers.Run(ctx, objects.PackReaders(), func(ctx context.Context, g *workers.Group) error {
		at := walk.NewCursor(ctx, l.version, "")
		defer at.Stop()
		top, err := at.Find("")
		if err != nil {
			return err
		}
		if top != nil {
			l.entries++
		}
		w := &walk.Tree{Root: l.root, Enter: func(p string, d fs.DirEntry) error {
			e, err := at.Find(p)
			if err != nil {
				return err
			}
			return l.enter(ctx, g, p, d, e)
		}}
		return w.Folder(ctx, "")
	})
	l.done.Compared, l.done.ComparedBytes = l.done.Compared+l.checked.Load(), l.done.ComparedBytes+l.bytes.Load()
	if len(l.found) > 0 && (err == nil || errors.Is(err, errEnough)) {
		slices.SortFunc(l.found, func(a, b *dataset.FileError) int { return strings.Compare(a.Path, b.Path) })
		return &OccupiedError{l.dir, l.version, l.found[:min(len(l.found), maxFound)]}
	}
	if err != nil {
		return err
	}
	t := l.version.Totals
	if all := t.Files + t.Links + t.Folders; !l.first && l.entries != all {
		return fmt.Errorf("%s has %d of the %d entries of the version: something else removes files there", l.dir, l.entries, all)
	}
	return nil
}

// enter examines what is at a path where the version has the entry e, or nothing.
func (l *look) enter(ctx context.Context, g *workers.Group, p string, d fs.DirEntry, e *tree.Entry) error {
	switch {
	case e == nil && d.IsDir() && walk.IsStaging(d.Name()) && p == d.Name()+"/":
		return l.staging(d.Name())
	case e == nil:
		if err := l.add(p, errForeign); err != nil {
			return err
		}
		return fs.SkipDir
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case d.IsDir():
	case e.IsLink() != (d.Type() == fs.ModeSymlink), !e.IsLink() && !d.Type().IsRegular():
		return l.add(p, errors.New("of another kind"))
	case e.IsLink():
		if target, err := l.root.Readlink(p); err != nil || target != e.Link {
			return l.add(p, errors.New("leads elsewhere"))
		}
	case info.Size() != e.Size:
		return l.add(p, errors.New("of another size"))
	default:
		l.files++
		l.unsummed = l.unsummed || !hasSums(e)
		// A restore would rewrite a file that has another time. If the file is somebody
		// else's, it is reported here.
		if l.contents || l.first && !place.HeldTime(info.ModTime(), e.ModTime) {
			g.Go(func() error { return l.compare(ctx, e) })
		}
	}
	l.entries++
	return nil
}

// staging handles a folder that a restore works in, or has left behind: this
// package's restore removes those of dead processes.
func (l *look) staging(name string) error {
	if l.first {
		return fs.SkipDir
	}
	return &LeftoverError{filepath.Join(l.dir, name)}
}

// add records something that is not in the version.
func (l *look) add(p string, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found = append(l.found, &dataset.FileError{Path: strings.TrimSuffix(p, "/"), Err: err})
	if len(l.found) > maxFound {
		return errEnough
	}
	return nil
}

// hasSums reports whether the index's sums cover all of the file's bytes.
func hasSums(e *tree.Entry) bool {
	return !slices.ContainsFunc(e.Extents, func(x tree.Extent) bool { return !x.HasSum() })
}

// buffers holds reusable read buffers: many files are small, and there may be millions.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// compare compares the contents of a file with the sums in the index.
func (l *look) compare(ctx context.Context, e *tree.Entry) error {
	if !hasSums(e) {
		if !l.first {
			return nil // it has been rewritten
		}
		return l.add(e.Path, errors.New("modified at another time"))
	}
	f, err := l.root.OpenFile(e.Path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("comparing %q: %w", e.Path, err)
	}
	defer f.Close()
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	for _, x := range e.Extents {
		h, err := objects.Of(l.version).ContentHash(ctx, x.Pack.KeyID)
		if err != nil {
			return err
		}
		n, err := io.CopyBuffer(h, ctxio.Reader(ctx, io.NewSectionReader(f, x.At, x.Length)), buf[:])
		same := n == x.Length && h.Sum() == x.Sum
		objects.Of(l.version).ReleaseHash(x.Pack.KeyID, h)
		l.bytes.Add(n)
		switch {
		case err != nil:
			return fmt.Errorf("comparing %q: %w", e.Path, err)
		case !same:
			return l.add(e.Path, errors.New("its contents differ"))
		}
	}
	l.checked.Add(1)
	return nil
}
