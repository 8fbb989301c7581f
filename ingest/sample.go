package ingest

import (
	"errors"
	"fmt"

	"github.com/vaultpack/vaultpack/internal/tarpack"
	"github.com/vaultpack/vaultpack/internal/unwind"
)

// A Sample is a group of files that belong together, such as an image and its label. They
// are in the same pack, so that a training job that gets a share of the packs gets all or
// none of them. A Sample stays in memory until it is closed. If it does not fit into a
// pack, or into half of the memory together with the other open samples, the error is
// [ErrSample].
type Sample struct {
	w    *Writer
	born int
	// w.mu guards the rest.
	files []*File
	ended bool
}

// Sample begins a sample.
func (w *Writer) Sample() (*Sample, error) {
	if err := w.made(); err != nil {
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
	w.samples++
	return &Sample{w: w, born: unwind.Count()}, nil
}

// Create begins a file of the sample. It is complete when both it and the sample have
// been closed without an error.
func (s *Sample) Create(path string, meta Meta) (*File, error) {
	if s == nil || s.w == nil {
		return nil, errNoSample
	}
	f, err := s.w.create(path, meta, s)
	if err != nil {
		return nil, fmt.Errorf("creating %.200q: %w", path, err)
	}
	return f, nil
}

func (s *Sample) tooLarge() error {
	return fmt.Errorf("the sample has more than a pack holds, %d bytes: %w", s.w.opts.PackSize, ErrSample)
}

// grow checks that the sample may take n more bytes of memory. w.mu is held.
func (s *Sample) grow(n int64) error {
	if s.w.sampled+n > s.w.limit/2 {
		return fmt.Errorf("samples that are open hold %d bytes, and may hold %d: %w", s.w.sampled, s.w.limit/2, ErrSample)
	}
	return nil
}

// size returns what the sample takes in a pack. w.mu is held.
func (s *Sample) size() int64 {
	size := int64(tarpack.End)
	for _, f := range s.files {
		if f.state != dropped {
			size += tarpack.Size(f.entry())
		}
	}
	return size
}

// Close completes the sample.
func (s *Sample) Close() error {
	if s == nil || s.w == nil {
		return errNoSample
	}
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.ended {
		return errSampleEnded
	}
	var err error
	var files []*File
	for _, f := range s.files {
		switch f.state {
		case closed:
			files = append(files, f)
		case dropped:
			err = errors.Join(err, f.err) // nil if it was aborted
		default:
			return fmt.Errorf("%.200q: %w", f.path, ErrOpen)
		}
	}
	if err == nil {
		err = w.usable()
	}
	if err == nil && unwind.Count() > s.born {
		err = errors.New("the sample was closed by a goroutine that unwinds")
	}
	if err == nil && s.size() > w.opts.PackSize {
		err = s.tooLarge()
	}
	if err != nil {
		s.drop()
		return err
	}
	s.end()
	for _, f := range files {
		w.sampled -= f.held
		delete(w.open, f.path)
	}
	if len(files) > 0 {
		w.put(files)
	}
	return nil
}

// Abort discards the sample and its files. After Close it does nothing.
func (s *Sample) Abort() {
	if s == nil || s.w == nil {
		return
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if !s.ended {
		s.drop()
	}
}

func (s *Sample) drop() {
	s.end()
	for _, f := range s.files {
		if f.state != dropped {
			f.drop()
		}
	}
}

func (s *Sample) end() {
	s.ended = true
	s.w.samples--
	s.w.tell()
}
