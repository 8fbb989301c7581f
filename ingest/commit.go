package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/commit"
	"github.com/vaultpack/vaultpack/internal/given"
)

// Commit makes the version, or returns the last one if there is nothing to change. If a
// file or a sample is open, the error wraps ErrOpen. If the paths of files conflict, it
// wraps fs.ErrExist. After fixing either, the caller can call Commit again. The error
// wraps dataset.ErrConflict if another writer has made a version in the meantime, and
// dataset.ErrCollected if a collection has ended this one. In both cases the Writer has
// ended, as it has when Commit succeeds, and a new Writer with the same ID continues
// from what this one recorded.
func (w *Writer) Commit(ctx context.Context) (*dataset.Version, error) {
	if err := given.Check(ctx, w.made() == nil, errNoWriter); err != nil {
		return nil, err
	}
	if err := w.settle(ctx); err != nil {
		return nil, err
	}
	ended := false
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.busy, w.ended = false, ended
		w.tell()
	}()
	v, ended, err := w.commit(ctx)
	if ended {
		if eerr := w.end(ctx); eerr != nil && err != nil {
			err = errors.Join(err, eerr)
		} else if eerr != nil {
			w.opts.Warn(eerr)
		}
	}
	return v, err
}

// commit makes the version, and reports whether the lease has been used.
func (w *Writer) commit(ctx context.Context) (v *dataset.Version, used bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(w.ctx, func() { cancel(context.Cause(w.ctx)) })()
	index, err := w.index(ctx)
	if err != nil {
		return nil, false, because(ctx, err)
	}
	v = w.lease.Previous()
	if len(w.files) == 0 && w.opts.ID != "" {
		// A later Writer does not find what was recorded in the version: see committed.
		if err := w.lease.Forget(ctx); err != nil {
			return nil, false, because(ctx, err)
		}
	}
	if index.changed {
		v, err = w.lease.Commit(ctx, w.key, index.contents)
	}
	switch {
	case errors.Is(err, dataset.ErrConflict) && w.opts.ID != "":
		err = fmt.Errorf("%w; what was written is kept: create a new writer with the same ID to continue", err)
	case err == nil && w.opts.ID != "":
		if ferr := w.lease.Forget(ctx); ferr != nil {
			w.opts.Warn(fmt.Errorf("the records of the writer could not be removed: %w", ferr))
		}
	}
	if err != nil {
		return nil, true, because(ctx, err)
	}
	return v, true, nil
}

// because returns why the context has ended, if err says only that it has.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		return cause
	}
	return err
}

// settle waits until everything that was written is in the vault, and rejects further
// writes.
func (w *Writer) settle(ctx context.Context) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return err
	}
	if w.busy {
		return errCommitting
	}
	if len(w.open)+w.samples > 0 {
		var names []string
		for path := range w.open {
			if names = append(names, fmt.Sprintf("%.200q", path)); len(names) == 5 {
				break
			}
		}
		slices.Sort(names)
		return fmt.Errorf("%w: %d files (%s) and %d samples", ErrOpen, len(w.open), strings.Join(names, ", "), w.samples)
	}
	w.busy = true
	defer func() {
		if err != nil {
			w.busy = false
			w.tell()
		}
	}()
	w.sealFilling()
	return w.sealed(ctx)
}

// An indexed is an index that has been written.
type indexed struct {
	contents commit.Contents
	changed  bool
}

// A merge adds what was written, and what the last version has, to the index.
type merge struct {
	*Writer
	ctx    context.Context
	index  *commit.Index
	paths  []string // that were written and not added yet
	gap    bool
	above  []string // files whose paths are prefixes of the last path
	flawed int64    // flawed entries of the last version
}

func (w *Writer) index(ctx context.Context) (indexed, error) {
	prev := w.lease.Previous()
	m := &merge{Writer: w, ctx: ctx, index: commit.NewIndex(w.dataset, w.key, prev), paths: slices.Sorted(maps.Keys(w.files))}
	if w.base.version != nil {
		for e, err := range prev.Entries(ctx) {
			if err == nil {
				err = m.old(e)
			}
			if err != nil {
				return indexed{}, err
			}
		}
	}
	if err := m.writtenRest(); err != nil {
		return indexed{}, err
	}
	c, changed, err := m.index.Finish(ctx)
	if err != nil {
		return indexed{}, err
	}
	if c.Totals.Files == 0 && !w.opts.AllowEmpty {
		return indexed{}, ErrEmpty
	}
	if w.base.version != nil {
		c.Totals.Flaws += max(prev.Totals.Flaws-m.flawed, 0) // what the last version lacks, this one lacks too
	}
	c.Relied = map[envelope.ObjectID]*tree.Object{}
	for id, o := range m.index.Packs() {
		if size, ok := w.there[id]; ok && size == o.Pin.Size {
			c.Relied[id] = o
		}
	}
	return indexed{c, changed}, nil
}

// written adds what was written up to a path, without the path itself.
func (m *merge) written(path string) error {
	for len(m.paths) > 0 && m.paths[0] < path {
		if err := m.writtenNext(); err != nil {
			return err
		}
	}
	return nil
}

// writtenRest adds what was written and has not been added yet.
func (m *merge) writtenRest() error {
	for len(m.paths) > 0 {
		if err := m.writtenNext(); err != nil {
			return err
		}
	}
	return nil
}

func (m *merge) writtenNext() error {
	next := m.paths[0]
	m.paths = m.paths[1:]
	return m.add(m.entry(next, m.files[next]), commit.Step{})
}

// old adds an entry of the last version, or what replaces it.
func (m *merge) old(e *tree.Entry) error {
	if e.Flaw != "" {
		m.flawed++
	}
	if err := m.written(e.Path); err != nil {
		return err
	}
	if len(m.paths) > 0 && m.paths[0] == e.Path {
		m.paths = m.paths[1:]
		now := m.entry(e.Path, m.files[e.Path])
		switch {
		case sameContents(now, e):
			return m.add(e, commit.Step{Unchanged: true}) // committed by a Writer that was ended before it could say so
		case m.opts.Mode == Add && !m.removed[e.Path]:
			return fmt.Errorf("%.200q was written, and version %d has it: %w", e.Path, m.base.version.Number, fs.ErrExist)
		}
		return m.add(now, commit.Step{})
	}
	if m.removed[e.Path] {
		m.gap = true
		return nil
	}
	return m.add(e, commit.Step{Unchanged: true})
}

// add adds an entry, unless it lies below a file instead of a folder.
func (m *merge) add(e *tree.Entry, step commit.Step) error {
	for n := len(m.above); n > 0 && !strings.HasPrefix(e.Path, m.above[n-1]); n-- {
		m.above = m.above[:n-1]
	}
	for _, file := range m.above {
		if e.Path[len(file)] == '/' {
			return fmt.Errorf("%.200q would be both a file and a folder: %w", file, fs.ErrExist)
		}
	}
	if !e.IsDir() {
		m.above = append(m.above, e.Path)
	}
	step.Gap = m.gap
	err := m.index.Add(m.ctx, e, step)
	m.gap = false
	return err
}

// sameContents reports whether two entries refer to the same contents, not only to equal ones.
func sameContents(a, b *tree.Entry) bool {
	return a.Size == b.Size && a.Mode == b.Mode && a.ModTime.Equal(b.ModTime) && slices.EqualFunc(a.Extents, b.Extents, func(x, y tree.Extent) bool {
		return x.Pack.ID == y.Pack.ID && x.Offset == y.Offset && x.Length == y.Length && x.At == y.At
	})
}
