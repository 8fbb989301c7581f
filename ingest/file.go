package ingest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/fsys"
	"github.com/vaultpack/vaultpack/internal/tarpack"
	"github.com/vaultpack/vaultpack/internal/unwind"
)

// Meta holds what a version records about a file besides its contents.
type Meta struct {
	Mode    fs.FileMode // permissions, and set-ID and sticky bits; 0 is 0o644
	ModTime time.Time   // the zero time means now
}

// A state is the progress of a File.
type state int

const (
	writing state = iota
	closing       // Close is running
	closed        // it is complete
	dropped       // it was aborted, or has failed
)

// A File is a file that is being written to a version. It is complete only when Close
// has returned nil. Every error, panic and runtime.Goexit of a Write or a ReadFrom is
// sticky: Close then returns an error, and the version does not have the file. The same
// holds for a Close that runs while its goroutine unwinds from a panic or
// runtime.Goexit. A File cannot see errors that occur elsewhere in the caller, so defer
// [File.Abort], and call Close after everything else has succeeded.
//
// Concurrent calls are serialized.
type File struct {
	w      *Writer
	path   string
	mode   fs.FileMode
	time   time.Time
	sample *Sample // nil if it belongs to none
	born   int     // how many panics its goroutine was in
	turn   sync.Mutex

	// w.mu guards the rest.
	state  state
	err    error
	blocks [][]byte
	size   int64 // of what is in them
	held   int64 // of memory
	at     int64 // where they begin in the file
	cuts   int
	flying int // pieces that are being sealed
	pieces []tree.Extent
}

// entry is the file's entry without its contents.
func (f *File) entry() *tree.Entry {
	return &tree.Entry{Path: f.path, Size: f.at + f.size, Mode: f.mode, ModTime: f.time}
}

// Create begins a file. Its path is relative and slash-separated, without empty or
// dot elements. If a file or a folder has the path, the error wraps fs.ErrExist. A
// file that an earlier Writer with the same ID has recorded is replaced.
func (w *Writer) Create(path string, meta Meta) (*File, error) {
	if err := w.made(); err != nil {
		return nil, err
	}
	f, err := w.create(path, meta, nil)
	if err != nil {
		return nil, fmt.Errorf("creating %.200q: %w", path, err)
	}
	return f, nil
}

func (w *Writer) create(path string, meta Meta, s *Sample) (*File, error) {
	if err := tree.CheckPath(path); err != nil {
		return nil, err
	}
	if meta.Mode&^fsys.ModeMask != 0 {
		return nil, fmt.Errorf("a file cannot have the mode %v", meta.Mode)
	}
	f := &File{w: w, path: path, mode: meta.Mode, time: meta.ModTime, sample: s, born: unwind.Count()}
	if f.mode == 0 {
		f.mode = 0o644
	}
	if f.time.IsZero() {
		f.time = time.Now()
	}
	if err := w.allowed(path); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return nil, err
	}
	if w.busy {
		return nil, errCommitting
	}
	if s != nil && s.ended {
		return nil, errSampleEnded
	}
	old, written := w.files[path]
	switch {
	case w.open[path] != nil:
		return nil, fmt.Errorf("it is being written: %w", fs.ErrExist)
	case written && !old.resumed:
		return nil, fmt.Errorf("it has been written: %w", fs.ErrExist)
	case w.folders[path] > 0:
		return nil, fmt.Errorf("files have been written below it: %w", fs.ErrExist)
	case !written && w.count() >= w.opts.MaxFiles:
		return nil, fmt.Errorf("%w, %d", ErrTooMany, w.opts.MaxFiles)
	}
	for dir := range parents(path) {
		if _, ok := w.files[dir]; ok || w.open[dir] != nil {
			return nil, fmt.Errorf("%q is a file: %w", dir, fs.ErrExist)
		}
	}
	w.open[path] = f
	w.below(path, 1)
	if s != nil {
		s.files = append(s.files, f)
	}
	return f, nil
}

var (
	errCommitting  = errors.New("the version is being committed")
	errSampleEnded = errors.New("the sample has ended")
	errBroken      = errors.New("a write did not return")
)

// usable returns the error of a file that accepts no more writes. w.mu is held.
func (f *File) usable() error {
	if err := f.w.usable(); err != nil {
		return err
	}
	switch {
	case f.err != nil:
		return f.err
	case f.state != writing:
		return fmt.Errorf("%.200q: %w", f.path, fs.ErrClosed)
	}
	return nil
}

// fail makes an error sticky, and frees the memory of the file, which will not be
// complete. w.mu is held.
func (f *File) fail(err error) {
	if f.err == nil {
		f.err = fmt.Errorf("%.200q: %w", f.path, err)
	}
	f.giveBack()
}

// giveBack releases the memory of the file. w.mu is held.
func (f *File) giveBack() {
	if f.sample != nil {
		f.w.sampled -= f.held
	}
	f.w.used -= f.held
	f.blocks, f.size, f.held = nil, 0, 0
	f.w.tell()
}

// Write appends to the file. It may wait for the vault: see the package documentation.
func (f *File) Write(p []byte) (n int, err error) {
	if f == nil || f.w == nil {
		return 0, errNoFile
	}
	f.turn.Lock()
	defer f.turn.Unlock()
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	returned := false
	defer func() {
		if !returned {
			err = errBroken
		}
		if err != nil && f.state == writing {
			f.fail(err)
		}
	}()
	n, err = f.write(p)
	returned = true
	return n, err
}

// ReadFrom appends everything that it reads from r. After an error or panic of r, the
// file cannot be completed.
func (f *File) ReadFrom(r io.Reader) (n int64, err error) {
	if f == nil || f.w == nil {
		return 0, errNoFile
	}
	if r == nil {
		return 0, errors.New("ingest: a nil reader")
	}
	returned := false
	defer func() {
		if !returned {
			err = errBroken
		}
		if err != nil {
			f.w.mu.Lock()
			defer f.w.mu.Unlock()
			if f.state == writing {
				f.fail(err)
			}
		}
	}()
	n, err = io.CopyBuffer(struct{ io.Writer }{f}, r, make([]byte, nextBlock))
	returned = true
	return n, err
}

// Close completes the file. The version has it once Commit has returned nil. For a
// file that is too large to share a pack, Close waits until all of it is in the vault.
func (f *File) Close() error {
	if f == nil || f.w == nil {
		return errNoFile
	}
	f.turn.Lock()
	defer f.turn.Unlock()
	w := f.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if unwind.Count() > f.born && f.state == writing {
		f.fail(errors.New("closed by a goroutine that unwinds"))
	}
	if err := f.usable(); err != nil {
		if f.state == writing {
			f.drop()
		}
		return err
	}
	if f.sample != nil {
		f.state = closed
		f.compact()
		return nil
	}
	f.compact()
	if f.at == 0 && tarpack.Size(f.entry())+tarpack.End <= w.opts.PackSize {
		f.state = closed
		delete(w.open, f.path)
		w.put([]*File{f})
		return nil
	}
	if f.size > 0 {
		w.cut(f)
	}
	f.state = closing
	for f.flying > 0 && w.usable() == nil {
		w.wait(w.ctx)
	}
	err := w.usable()
	if err == nil {
		err = f.err
	}
	if err == nil {
		slices.SortFunc(f.pieces, func(a, b tree.Extent) int { return int(min(max(a.At-b.At, -1), 1)) })
		err = w.complete(f)
	}
	if err != nil {
		f.drop()
		return err
	}
	f.state = closed
	delete(w.open, f.path)
	return nil
}

// Abort discards the file: the version does not have it, and its path is free again.
// After Close it does nothing. For a file of a sample, it also does nothing after
// the sample's Close.
func (f *File) Abort() {
	if f == nil || f.w == nil {
		return
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if f.state == writing || f.state == closed && f.sample != nil && !f.sample.ended {
		f.drop()
	}
}

// drop releases everything that the file holds. w.mu is held.
func (f *File) drop() {
	w := f.w
	f.state = dropped
	if w.open[f.path] == f {
		delete(w.open, f.path)
		w.below(f.path, -1)
	}
	f.giveBack()
	f.pieces = nil
}

// parents yields the folders that a path lies in.
func parents(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i, c := range []byte(path) {
			if c == '/' && !yield(path[:i]) {
				return
			}
		}
	}
}

// count returns how many paths are kept in memory. w.mu is held.
func (w *Writer) count() int { return len(w.files) + len(w.open) + len(w.removed) }

// below counts a file in its folders. w.mu is held.
func (w *Writer) below(path string, n int) {
	for dir := range parents(path) {
		if w.folders[dir] += n; w.folders[dir] == 0 {
			delete(w.folders, dir)
		}
	}
}
