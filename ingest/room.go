package ingest

import (
	"context"
	"slices"
)

func (f *File) write(p []byte) (n int, err error) {
	for {
		if err := f.usable(); err != nil {
			return n, err
		}
		if len(p) == 0 {
			return n, nil
		}
		room := f.room()
		if len(room) == 0 {
			if err := f.grow(); err != nil {
				return n, err
			}
			continue // what there was may have been cut off in the meantime
		}
		k := copy(room, p)
		last := &f.blocks[len(f.blocks)-1]
		*last = (*last)[:len(*last)+k]
		f.size += int64(k)
		n, p = n+k, p[k:]
		if f.sample != nil && f.sample.size() > f.w.opts.PackSize {
			return n, f.sample.tooLarge()
		}
		if f.sample == nil && f.size >= f.w.opts.PackSize {
			f.w.cut(f)
		}
		if len(p) > 0 { // give others a turn
			f.w.mu.Unlock()
			f.w.mu.Lock()
		}
	}
}

// room returns the free space in the last block, up to the size of a pack.
func (f *File) room() []byte {
	if len(f.blocks) == 0 {
		return nil
	}
	last := f.blocks[len(f.blocks)-1]
	free := last[len(last):cap(last)]
	if left := f.w.opts.PackSize - f.size; f.sample == nil && int64(len(free)) > left {
		free = free[:left]
	}
	return free
}

// grow adds a block. w.mu is held, but released while waiting.
func (f *File) grow() error {
	n := int64(nextBlock)
	if len(f.blocks) == 0 && f.at == 0 {
		n = firstBlock
	}
	n = min(n, f.w.limit/4, f.w.opts.PackSize)
	if f.sample != nil {
		if err := f.sample.grow(n); err != nil {
			return err
		}
		f.w.sampled += n
	}
	if err := f.w.reserve(n, f); err != nil {
		if f.sample != nil {
			f.w.sampled -= n
		}
		return err
	}
	f.held += n
	f.blocks = append(f.blocks, make([]byte, 0, n))
	return nil
}

// compact makes one block of a small file, if the blocks have much free space.
func (f *File) compact() {
	if f.size > nextBlock || f.held-f.size <= f.size/4 {
		return
	}
	whole := slices.Concat(f.blocks...)
	if f.size > 0 {
		f.blocks = [][]byte{slices.Clip(whole)}
	} else {
		f.blocks = nil
	}
	spare := f.held - f.size
	f.held -= spare
	f.w.used -= spare
	if f.sample != nil {
		f.w.sampled -= spare
	}
	f.w.tell()
}

// A turn is a lock that is held during requests to the vault: waiting for it ends with
// the context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turn) give() { <-t }

// wait waits until something changes. w.mu is held, but released while waiting.
func (w *Writer) wait(ctx context.Context) {
	changed := w.changed
	w.mu.Unlock()
	defer w.mu.Lock()
	select {
	case <-changed:
	case <-ctx.Done():
	case <-w.ctx.Done():
	}
}
