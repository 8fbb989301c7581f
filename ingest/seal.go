package ingest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/tarpack"
)

// A pack is what is sealed as one unit: small files, or a piece of a large one.
type pack struct {
	files []*File
	file  *File
	// blocks hold the piece, size bytes starting at offset at of the file. For small
	// files, size is the size of their tar.
	blocks   [][]byte
	size, at int64
	held     int64         // of memory
	done     chan struct{} // closed when sealing has succeeded or failed
}

// A record is a complete file in compact form.
type record struct {
	size    int64
	seconds int64
	nanos   int32
	mode    fs.FileMode
	// Where it is stored: in one object, or in pieces.
	object  int32
	offset  int64
	sum     envelope.ContentSum
	pieces  []tree.Extent
	pack    *pack // the pack that it waits in; nil when it is in the vault
	resumed bool  // an earlier Writer has written it, and this one has not
}

func (w *Writer) entry(path string, r record) *tree.Entry {
	e := &tree.Entry{Path: path, Size: r.size, Mode: r.mode, ModTime: time.Unix(r.seconds, int64(r.nanos)), Extents: r.pieces}
	if e.Extents == nil {
		e.Extents = []tree.Extent{{Pack: w.objects[r.object], Offset: r.offset, Length: r.size, Sum: r.sum}}
	}
	return e
}

// enter adds a file to the version. w.mu is held.
func (w *Writer) enter(f *File, r record) {
	r.size, r.mode, r.seconds, r.nanos = f.at+f.size, f.mode, f.time.Unix(), int32(f.time.Nanosecond())
	if old, ok := w.files[f.path]; ok {
		w.forget(f.path, old)
	}
	w.files[f.path] = r
	w.stats.Files++
	w.stats.Bytes += r.size
}

// forget removes a file. w.mu is held.
func (w *Writer) forget(path string, r record) {
	delete(w.files, path)
	w.below(path, -1)
	w.stats.Files--
	w.stats.Bytes -= r.size
	if r.resumed {
		w.stats.Resumed--
	}
}

// start seals a pack when its turn comes. w.mu is held.
func (w *Writer) start(p *pack) {
	if w.ended {
		return
	}
	w.queue = append(w.queue, p)
	w.next()
}

func (w *Writer) next() {
	for len(w.sealing) < w.seals && len(w.queue) > 0 {
		p := w.queue[0]
		w.queue = w.queue[1:]
		w.sealing[p] = true
		w.running.Go(func() { w.run(p) })
	}
}

// run seals a pack, and ends the Writer if that fails.
func (w *Writer) run(p *pack) {
	err := errBroken
	w.guard.Call(func() { err = w.seal(p) })
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.cancel(err)
	}
	delete(w.sealing, p)
	w.used -= p.held
	close(p.done)
	w.next()
	w.tell()
}

func (w *Writer) seal(p *pack) error {
	sum, err := envelope.NewContentHash(w.key)
	if err != nil {
		return err
	}
	if p.file != nil {
		return w.sealPiece(p, sum)
	}
	return w.sealTar(p, sum)
}

func (w *Writer) write(fill func(io.Writer) error) (*tree.Object, error) {
	o, err := objects.Of(w.dataset).WritePack(w.ctx, w.key, fill, envelope.Workers(w.segments))
	if err != nil {
		return nil, w.cause(fmt.Errorf("writing a pack: %w", err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stats.Packs++
	w.stats.SealedBytes += o.Pin.Size
	return &o, nil
}

func (w *Writer) sealPiece(p *pack, sum *envelope.ContentHash) error {
	o, err := w.write(func(dst io.Writer) error {
		sum.Reset()
		return writeBlocks(io.MultiWriter(sum, dst), p.blocks)
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	p.file.flying--
	if err != nil {
		return err
	}
	p.file.pieces = append(p.file.pieces, tree.Extent{Pack: o, Length: p.size, At: p.at, Sum: sum.Sum()})
	return nil
}

func writeBlocks(dst io.Writer, blocks [][]byte) error {
	for _, b := range blocks {
		if _, err := dst.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) sealTar(p *pack, sum *envelope.ContentHash) error {
	slices.SortFunc(p.files, func(a, b *File) int { return cmp.Compare(a.path, b.path) })
	entries := make([]*tree.Entry, len(p.files))
	o, err := w.write(func(dst io.Writer) error {
		t := tarpack.NewWriter(dst)
		for i, f := range p.files {
			entries[i] = f.entry()
			at, err := t.Begin(entries[i])
			if err != nil {
				return err
			}
			sum.Reset()
			if err := writeBlocks(io.MultiWriter(sum, t), f.blocks); err != nil {
				return err
			}
			if err := t.Flush(); err != nil {
				return err
			}
			entries[i].Extents = []tree.Extent{{Offset: at, Length: f.size, Sum: sum.Sum()}}
		}
		return t.Close()
	})
	if err != nil {
		return err
	}
	for _, e := range entries {
		e.Extents[0].Pack = o
	}
	if err := w.record(slices.Clone(entries)); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.objects = append(w.objects, o)
	for _, e := range entries {
		r := w.files[e.Path]
		r.pack, r.object, r.offset, r.sum = nil, int32(len(w.objects)-1), e.Extents[0].Offset, e.Extents[0].Sum
		w.files[e.Path] = r
	}
	return nil
}

// record records complete files in the vault, if the Writer has an ID. It sorts entries.
func (w *Writer) record(entries []*tree.Entry) error {
	if w.opts.ID == "" {
		return nil
	}
	if err := w.recording.take(w.ctx); err != nil {
		return err
	}
	defer w.recording.give()
	return w.cause(w.lease.Record(w.ctx, w.key, entries))
}

// complete adds a file all of whose pieces are in the vault. w.mu is held, but released
// while waiting.
func (w *Writer) complete(f *File) error {
	e := f.entry()
	e.Extents = f.pieces
	err := w.unlocked(func() error { return w.record([]*tree.Entry{e}) })
	if err != nil {
		w.cancel(err) // it may be in the records, but is not in the version
		return err
	}
	w.enter(f, record{pieces: f.pieces})
	return nil
}

// unlocked calls f without holding w.mu.
func (w *Writer) unlocked(f func() error) error {
	w.mu.Unlock()
	defer w.mu.Lock()
	return f()
}

// Checkpoint stores every file whose Close has returned nil in the vault, and records
// it there. If this Writer does not reach Commit, a Writer with the same ID continues
// from there. Other goroutines may write in the meantime.
func (w *Writer) Checkpoint(ctx context.Context) error {
	if err := given.Check(ctx, w.made() == nil, errNoWriter); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.opts.ID == "" {
		return errNoID
	}
	if err := w.usable(); err != nil {
		return err
	}
	w.sealFilling()
	return w.sealed(ctx)
}

// sealed waits until all packs that are now being sealed are finished. w.mu is held,
// but released while waiting.
func (w *Writer) sealed(ctx context.Context) error {
	packs := slices.Clone(w.queue)
	for p := range w.sealing {
		packs = append(packs, p)
	}
	for _, p := range packs {
		err := w.unlocked(func() error {
			select {
			case <-p.done:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-w.ctx.Done():
				return context.Cause(w.ctx)
			}
		})
		if err != nil {
			return err
		}
	}
	return w.usable()
}
