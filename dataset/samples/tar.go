package samples

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/tarpack"
)

// WriteTar writes the samples that a shard still has to read to w, as a tar of their files in
// order: what WebDataset calls a shard. told, which may be nil, is called after each sample
// with the size of its files.
//
// After an error the tar is invalid: it ends inside a file, so that no reader mistakes it for
// complete.
func (p *Plan) WriteTar(ctx context.Context, w io.Writer, pos Position, told func(bytes int64)) error {
	switch err := given.Check(ctx, p != nil && p.files != nil, errNoPlan); {
	case err != nil:
		return err
	case w == nil:
		return errors.New("samples: nowhere to write to")
	}
	buffered := bufio.NewWriterSize(w, 256<<10)
	t := &tarWriter{plan: p, w: tar.NewWriter(buffered), out: buffered}
	for s, err := range p.Read(ctx, pos) {
		size := int64(0)
		if err != nil {
			return t.fail(err)
		}
		for _, e := range s.Files {
			if err := t.file(ctx, e); err != nil {
				return t.fail(err)
			}
			size += e.Size
		}
		if told != nil {
			told(size)
		}
	}
	if err := t.w.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

type tarWriter struct {
	plan *Plan
	w    *tar.Writer
	out  *bufio.Writer
	open bool // it has a file with missing contents
}

// file adds a file.
func (t *tarWriter) file(ctx context.Context, e *tree.Entry) error {
	f, err := t.plan.files.WithContext(ctx).OpenEntry(e)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := t.w.WriteHeader(tarpack.Header(e)); err != nil {
		return err
	}
	t.open = e.Size > 0
	n, err := f.WriteTo(t.w)
	if t.open = n < e.Size; err != nil {
		return err
	}
	return t.w.Flush()
}

// fail makes the tar end inside a file, and returns err.
func (t *tarWriter) fail(err error) error {
	if !t.open && t.w.Flush() == nil {
		t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "vaultpack-error", Size: 1, Mode: 0o600})
	}
	t.out.Flush()
	return err
}
