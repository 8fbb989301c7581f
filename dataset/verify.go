package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/vaultpack/vaultpack/envelope"
)

// A Verify reads a version without writing it anywhere, and tells what is
// damaged.
type Verify struct {
	// Sample is the share of the packs to read, chosen at random: over 0, up to 1.
	Sample float64
	// Failed is told everything that is damaged, and each file that differs as a
	// *FileError. It may be called from several goroutines.
	Failed func(err error)

	// Counters, to be read at any time.
	Packs, Bytes atomic.Int64 // packs and plaintext bytes that were authenticated
	Entries      atomic.Int64 // index entries that were authenticated, or files compared
	Failures     atomic.Int64
}

func (c *Verify) fail(err error) {
	c.Failures.Add(1)
	if c.Failed != nil {
		c.Failed(err)
	}
}

// Run verifies the version's index and, whole, each pack that it names, and the
// roots of the versions before it as far as they are still there.
func (c *Verify) Run(ctx context.Context, v *Version) error {
	if err := c.ancestors(ctx, v); err != nil {
		return err
	}
	work := make(chan Object)
	var wg sync.WaitGroup
	for range packReaders() {
		wg.Go(func() {
			for pack := range work {
				if err := c.pack(ctx, v.dataset, &pack); err != nil && ctx.Err() == nil {
					c.fail(err)
				}
			}
		})
	}
	seen := map[envelope.ObjectID]bool{}
	for i := range v.Parts {
		entries, err := v.readPart(ctx, i)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			c.fail(err)
			continue
		}
		c.Entries.Add(int64(len(entries)))
		for _, e := range entries {
			for _, x := range e.Extents {
				if !seen[x.Pack.ID] {
					seen[x.Pack.ID] = true
					if c.Sample == 1 || rand.Float64() < c.Sample {
						work <- *x.Pack
					}
				}
			}
		}
	}
	close(work)
	wg.Wait()
	return ctx.Err()
}

// ancestors checks that the versions before v are those that it was made after.
func (c *Verify) ancestors(ctx context.Context, v *Version) error {
	for v.Parent > 0 {
		parent, err := v.dataset.Version(ctx, v.Parent)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrUnknownVersion) {
			return nil // removed, which an owner may do
		}
		if err == nil && parent.Pin != v.ParentPin {
			err = fmt.Errorf("%s is not the version that version %d was made after: %w",
				v.dataset.versionName(v.Parent), v.Number, envelope.ErrAuthentication)
		}
		if err != nil {
			c.fail(err)
			return nil
		}
		v = parent
	}
	return nil
}

func (c *Verify) pack(ctx context.Context, d *Dataset, pack *Object) error {
	r, closer, err := d.openPack(ctx, pack)
	if err != nil {
		return err
	}
	defer closer.Close()
	_, err = io.Copy(countWriter{&c.Bytes}, ctxReader{ctx, r})
	if err == nil && r.Pin() != pack.Pin {
		err = envelope.ErrAuthentication
	}
	if err != nil {
		return d.packError(pack, err)
	}
	c.Packs.Add(1)
	return nil
}

type countWriter struct{ n *atomic.Int64 }

func (w countWriter) Write(p []byte) (int, error) {
	w.n.Add(int64(len(p)))
	return len(p), nil
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// ErrDiffers is told for what is authentic in the vault, and another in the
// folder that it is compared with.
var ErrDiffers = errors.New("differs")

// Against compares every file, link and folder of the version with a folder:
// contents, permissions and times. Files that only the folder has are not looked
// for.
func (c *Verify) Against(ctx context.Context, v *Version, dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("comparing with %s: %w", dir, cmpErr(err, errors.New("not a folder")))
	}
	var window []*Entry
	weight := 0
	compare := func() error {
		err := v.dataset.readExtents(ctx, window, func(e *Entry, x Extent, r io.Reader) error {
			return c.compareExtent(filepath.Join(dir, e.Path), x, r)
		}, func(e *Entry, err error) { c.fail(&FileError{e.Name(), err}) })
		window, weight = nil, 0
		return err
	}
	for e, err := range v.Entries(ctx) {
		if err != nil {
			return err
		}
		c.Entries.Add(1)
		if err := compareAttributes(dir, e); err != nil {
			c.fail(&FileError{e.Name(), err})
			continue
		}
		window = append(window, e)
		if weight += e.weight(); len(window) == windowFiles || weight >= maxWeight {
			if err := compare(); err != nil {
				return err
			}
		}
	}
	return compare()
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
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
	switch {
	case info.Mode().Type() != want:
		return fmt.Errorf("%w: it is of another kind in the folder", ErrDiffers)
	case e.IsFile() && info.Size() != e.Size:
		return fmt.Errorf("%w: %d bytes in the vault, %d in the folder", ErrDiffers, e.Size, info.Size())
	case !e.IsLink() && info.Mode()&modeMask != e.Mode:
		return fmt.Errorf("%w: mode %v in the vault, %v in the folder", ErrDiffers, e.Mode, info.Mode()&modeMask)
	case !info.ModTime().Equal(e.ModTime):
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

// compareExtent compares a run of a file's bytes.
func (c *Verify) compareExtent(name string, x Extent, r io.Reader) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	here := io.NewSectionReader(f, x.At, x.Length)
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(r, a)
		if _, herr := io.ReadFull(here, b[:n]); herr != nil && n > 0 || !bytes.Equal(a[:n], b[:n]) {
			return fmt.Errorf("%w: the contents are others", ErrDiffers)
		}
		c.Bytes.Add(int64(n))
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
