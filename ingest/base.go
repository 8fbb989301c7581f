package ingest

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
)

// A base is the version that a Writer continues from. It looks files up in it, and caches
// some parts of its index: programs write in the order of time, or of names. It is safe
// for concurrent use; version is nil if there is none to continue from.
type base struct {
	version *dataset.Version

	reading turn
	parts   []basePart // most recently used first

	mu      sync.Mutex
	folders map[string]bool // for which the version has no file
}

func newBase(v *dataset.Version) *base { return &base{version: v, reading: newTurn()} }

type basePart struct {
	number  int
	entries []*tree.Entry
}

const (
	maxBaseParts   = 4
	maxBaseFolders = 64 << 10
)

// part reads a part of the index. The caller holds the turn.
func (b *base) part(ctx context.Context, i int) ([]*tree.Entry, error) {
	at := slices.IndexFunc(b.parts, func(p basePart) bool { return p.number == i })
	if at >= 0 {
		p := b.parts[at]
		b.parts = slices.Insert(slices.Delete(b.parts, at, at+1), 0, p)
		return p.entries, nil
	}
	p := basePart{number: i}
	for e, err := range b.version.EntriesFrom(ctx, b.version.Parts[i].First) {
		if err != nil {
			return nil, err
		}
		if p.entries = append(p.entries, e); len(p.entries) == b.version.Parts[i].Entries {
			break
		}
	}
	if len(b.parts) == maxBaseParts {
		b.parts = b.parts[:maxBaseParts-1]
	}
	b.parts = slices.Insert(b.parts, 0, p)
	return p.entries, nil
}

// from returns the first entry that is not before path, or nil.
func (b *base) from(ctx context.Context, path string) (*tree.Entry, error) {
	if b.version == nil {
		return nil, nil
	}
	if err := b.reading.take(ctx); err != nil {
		return nil, err
	}
	defer b.reading.give()
	parts := b.version.Parts
	i := max(sort.Search(len(parts), func(i int) bool { return parts[i].First > path })-1, 0)
	for ; i < len(parts); i++ {
		entries, err := b.part(ctx, i)
		if err != nil {
			return nil, err
		}
		k, _ := slices.BinarySearchFunc(entries, path, func(e *tree.Entry, path string) int { return strings.Compare(e.Path, path) })
		if k < len(entries) {
			return entries[k], nil
		}
	}
	return nil, nil
}

// file returns the version's file or link of that path, or nil.
func (b *base) file(ctx context.Context, path string) (*tree.Entry, error) {
	e, err := b.from(ctx, path)
	if err != nil || e == nil || e.Path != path {
		return nil, err
	}
	return e, nil
}

// isFolder reports whether the version has a folder with that path, or something below
// it.
func (b *base) isFolder(ctx context.Context, path string) (bool, error) {
	e, err := b.from(ctx, path+"/")
	return e != nil && strings.HasPrefix(e.Path, path+"/"), err
}

// rememberFolder remembers a folder for which the version has no file.
func (b *base) rememberFolder(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.folders == nil || len(b.folders) == maxBaseFolders {
		b.folders = map[string]bool{}
	}
	b.folders[path] = true
}

// knownFolder reports whether a folder was remembered.
func (b *base) knownFolder(path string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.folders[path]
}

// allowed checks that the last version does not conflict with a new file with that path.
func (w *Writer) allowed(path string) error {
	v := w.base.version
	if v == nil {
		return nil
	}
	if w.opts.Mode == Add {
		e, err := w.base.file(w.ctx, path)
		if err != nil {
			return w.cause(err)
		}
		if e != nil && !w.isRemoved(path) {
			return fmt.Errorf("version %d has it: %w", v.Number, fs.ErrExist)
		}
	}
	folder, err := w.base.isFolder(w.ctx, path)
	if err != nil {
		return w.cause(err)
	}
	if folder {
		return fmt.Errorf("it is a folder of version %d: %w", v.Number, fs.ErrExist)
	}
	for dir := range parents(path) {
		if w.base.knownFolder(dir) {
			continue
		}
		e, err := w.base.file(w.ctx, dir)
		if err != nil {
			return w.cause(err)
		}
		if e != nil && !w.isRemoved(dir) {
			return fmt.Errorf("%q is a file of version %d: %w", dir, v.Number, fs.ErrExist)
		}
		if e == nil {
			w.base.rememberFolder(dir)
		}
	}
	return nil
}

func (w *Writer) isRemoved(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.removed[path]
}

// Has reports whether the version that Commit makes already has a file with this path, and
// with the permissions and time of meta if they are set, because this Writer or an earlier
// one with its ID has written it, or because the last version has it.
func (w *Writer) Has(path string, meta Meta) (bool, error) {
	if err := w.made(); err != nil {
		return false, err
	}
	w.mu.Lock()
	err := w.usable()
	r, ok := w.files[path]
	gone := w.removed[path]
	w.mu.Unlock()
	var e *tree.Entry
	switch {
	case err != nil:
		return false, err
	case ok:
		e = &tree.Entry{Mode: r.mode, ModTime: unixTime(r)}
	case !gone:
		if e, err = w.base.file(w.ctx, path); err != nil || e == nil || !e.IsFile() || e.Flaw != "" {
			return false, w.cause(err)
		}
	default:
		return false, nil
	}
	return (meta.Mode == 0 || meta.Mode == e.Mode) && (meta.ModTime.IsZero() || meta.ModTime.Equal(e.ModTime)), nil
}

// Remove removes a file or link from the version that Commit makes, whether it comes
// from the last version or was written since. Its path is then free.
func (w *Writer) Remove(path string) error {
	if err := w.made(); err != nil {
		return err
	}
	if err := w.remove(path); err != nil {
		return fmt.Errorf("removing %.200q: %w", path, err)
	}
	return nil
}

func (w *Writer) remove(path string) error {
	old, err := w.base.file(w.ctx, path)
	if err != nil {
		return w.cause(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if err := w.usable(); err != nil {
			return err
		}
		r, ok := w.files[path]
		switch {
		case w.busy:
			return errCommitting
		case w.open[path] != nil:
			return ErrOpen
		case !ok && (old == nil || w.removed[path]):
			return dataset.ErrNoEntry
		case old != nil && !w.removed[path] && w.count() >= w.opts.MaxFiles:
			return fmt.Errorf("%w, %d", ErrTooMany, w.opts.MaxFiles)
		}
		if ok && r.pack != nil {
			// Its earlier record is older than any that may be recorded later.
			if r.pack == w.filling {
				w.sealFilling()
			}
			w.wait(w.ctx)
			continue
		}
		if ok {
			w.forget(path, r)
		}
		if old != nil && !w.removed[path] {
			w.removed[path] = true
			w.stats.Removed++
		}
		return nil
	}
}
