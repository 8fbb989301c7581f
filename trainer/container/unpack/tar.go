package unpack

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/internal/packs"
	"github.com/vaultpack/vaultpack/internal/tarpack"
)

// shardEntry returns the file that a pack becomes if tars are kept.
func (u *Job) shardEntry(s *packState) *tree.Entry {
	return &tree.Entry{Path: fmt.Sprintf("%s-%06d.tar", u.version.Dataset(), s.number), Mode: 0o644, ModTime: u.version.Created}
}

// tar makes a shard from a pack: a tar of the version's files whose contents are in
// it, in the order of their paths. The pack is also a tar, but files may have been
// moved, copied, changed or removed since it was written.
func (w *unpacker) tar(ctx context.Context, pieces []packs.Piece) (_ []*tree.Entry, err error) {
	pack := pieces[0].Extent.Pack
	e := w.shardEntry(w.state[pack.ID])
	name := w.to.StageName()
	fd, err := w.to.Create(name)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	defer unix.Unlinkat(w.to.StageFD, name, 0)
	t, err := layOut(f, pieces)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", e.Path, err)
	}
	var failed error
	_, err = packs.ReadWholePack(ctx, w.packs, pack, t.unique, t.write, func(e *tree.Entry, err error) {
		failed = errors.Join(failed, fmt.Errorf("%q: %w", e.Path, err))
	})
	if err = cmp.Or(err, failed); err != nil {
		return nil, err
	}
	if err := t.copies(); err != nil {
		return nil, err
	}
	e.Size = t.size
	w.to.Adopt(e, name, f)
	if e.Seen, err = w.place(e); err != nil {
		return nil, fmt.Errorf("%q: %w", e.Path, err)
	}
	e.Extents = []tree.Extent{{Pack: pack}}
	w.Files.Add(1)
	w.Bytes.Add(e.Size)
	return []*tree.Entry{e}, nil
}

// A shard is a tar whose members are written in any order.
type shard struct {
	f      *os.File
	size   int64
	at     map[*tree.Entry]int64       // where the contents begin
	unique []packs.Piece               // to be read, sorted by offset
	same   map[*tree.Entry]*tree.Entry // which file has the same contents
}

// layOut writes the headers of a shard, and returns where each file's contents go.
func layOut(f *os.File, pieces []packs.Piece) (*shard, error) {
	const block = 512
	t := &shard{f: f, at: map[*tree.Entry]int64{}, same: map[*tree.Entry]*tree.Entry{}}
	first := map[[2]int64]*tree.Entry{}
	byPath := slices.SortedFunc(slices.Values(pieces), func(a, b packs.Piece) int { return cmp.Compare(a.Entry.Path, b.Entry.Path) })
	for _, p := range byPath {
		var header bytes.Buffer
		// A tar.Writer accepts no second header before the contents of the first.
		if err := tar.NewWriter(&header).WriteHeader(tarpack.Header(p.Entry)); err != nil {
			return nil, err
		}
		if _, err := f.WriteAt(header.Bytes(), t.size); err != nil {
			return nil, err
		}
		t.at[p.Entry] = t.size + int64(header.Len())
		t.size = t.at[p.Entry] + (p.Extent.Length+block-1)/block*block
		place := [2]int64{p.Extent.Offset, p.Extent.Length}
		if e := first[place]; e != nil {
			t.same[p.Entry] = e
			continue
		}
		first[place] = p.Entry
		t.unique = append(t.unique, p)
	}
	slices.SortFunc(t.unique, func(a, b packs.Piece) int { return cmp.Compare(a.Extent.Offset, b.Extent.Offset) })
	t.size += 2 * block // zeros, like everything that is not written
	return t, f.Truncate(t.size)
}

func (t *shard) write(e *tree.Entry, x tree.Extent, src io.Reader) error {
	_, err := io.Copy(io.NewOffsetWriter(t.f, t.at[e]), src)
	return err
}

// copies writes the contents of files that share contents with another, once those
// have proved to be authentic.
func (t *shard) copies() error {
	for e, from := range t.same {
		src := io.NewSectionReader(t.f, t.at[from], e.Size)
		if n, err := io.Copy(io.NewOffsetWriter(t.f, t.at[e]), src); err != nil || n != e.Size {
			return fmt.Errorf("%q: %w", e.Path, cmp.Or(err, io.ErrUnexpectedEOF))
		}
	}
	return nil
}
