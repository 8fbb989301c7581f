package ingest

import (
	"errors"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/tarpack"
)

// Contents are held in blocks. The first block of a file is small, since most files are.
const (
	firstBlock = 4 << 10
	nextBlock  = 64 << 10
)

// maxPieces limits the number of pieces of a file: the index has a limit too.
const maxPieces = 1 << 16

// reserve reserves n bytes of memory for the file, once they are free. Callers wait in
// line, so that none waits forever. w.mu is held, but released while waiting. The wait
// ends as long as the vault answers. Memory is held by packs that are being sealed, which
// end; by the pack that is being filled and by files, which are sealed here and now if
// nothing else is being sealed; and by samples, which may hold at most half of it.
func (w *Writer) reserve(n int64, f *File) error {
	if w.waiting == 0 && w.used+n <= w.limit {
		w.used += n
		return nil
	}
	w.waiting++
	w.mu.Unlock()
	w.line.Lock()
	w.mu.Lock()
	defer func() {
		w.waiting--
		w.line.Unlock()
	}()
	for w.used+n > w.limit {
		if err := f.usable(); err != nil {
			return err
		}
		w.relieve()
		w.wait(w.ctx)
	}
	if err := f.usable(); err != nil {
		return err
	}
	w.used += n
	return nil
}

// relieve starts sealing whatever holds the most memory, unless enough is already
// being sealed. w.mu is held.
func (w *Writer) relieve() {
	if len(w.sealing) >= w.seals || len(w.queue) > 0 {
		return
	}
	var most *File
	for _, f := range w.open {
		if f.sample == nil && f.state == writing && f.size > 0 && (most == nil || f.held > most.held) {
			most = f
		}
	}
	if w.filling != nil && (most == nil || w.filling.held >= most.held) {
		w.sealFilling()
	} else if most != nil {
		w.cut(most)
	}
}

// cut starts sealing what the file holds as one of its pieces. w.mu is held.
func (w *Writer) cut(f *File) {
	if f.cuts == maxPieces {
		f.fail(errors.New("the file has too many pieces: give the writer more memory, or open fewer files"))
		return
	}
	f.cuts++
	f.flying++
	p := &pack{file: f, blocks: f.blocks, size: f.size, at: f.at, held: f.held, done: make(chan struct{})}
	f.at += f.size
	f.blocks, f.size, f.held = nil, 0, 0
	w.start(p)
}

// put adds complete files to the pack that is being filled, all to the same one. w.mu
// is held.
func (w *Writer) put(files []*File) {
	size := int64(0)
	for _, f := range files {
		size += tarpack.Size(f.entry())
	}
	if w.filling != nil && w.filling.size+size+tarpack.End > w.opts.PackSize {
		w.sealFilling()
	}
	if w.filling == nil {
		w.filling = &pack{done: make(chan struct{})}
	}
	for _, f := range files {
		w.filling.files = append(w.filling.files, f)
		w.filling.held += f.held
		w.enter(f, record{pack: w.filling})
	}
	w.filling.size += size
	// A full pack need not wait.
	if w.filling.size+tarpack.Size(&tree.Entry{})+tarpack.End > w.opts.PackSize {
		w.sealFilling()
	}
}

func (w *Writer) sealFilling() {
	if p := w.filling; p != nil {
		w.filling = nil
		w.start(p)
	}
}
