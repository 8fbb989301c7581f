package dataset

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vaultpack/vaultpack/envelope"
)

// shardEntry is the file that a pack becomes where tars are left as they are.
func (u *Unpack) shardEntry(s *packState) *Entry {
	return &Entry{Path: fmt.Sprintf("%s-%06d.tar", u.version.dataset.Name, s.number), Mode: 0o644, ModTime: u.version.Created}
}

// tar writes a pack's plaintext, a tar, as a shard. What lies in it that is not in
// the version is left out.
func (w *unpacker) tar(ctx context.Context, pieces []piece) (_ []*Entry, err error) {
	pack := pieces[0].extent.Pack
	e := w.shardEntry(w.state[pack.ID])
	r, closer, err := w.packs.openPack(ctx, pack)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	name := w.r.stageName()
	fd, err := w.r.create(name)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	defer unix.Unlinkat(w.r.stageFD, name, 0)
	live := map[int64]int64{}
	for _, p := range pieces {
		live[p.extent.Offset] = p.extent.Length
	}
	e.Size, err = copyTar(f, ctxReader{ctx, r}, live)
	if err == nil && r.Pin() != pack.Pin {
		err = envelope.ErrAuthentication
	}
	if err != nil {
		return nil, w.packs.packError(pack, err)
	}
	w.r.staged = map[*Entry]*stagedFile{e: {name: name, f: f}}
	if e.Seen, err = w.place(e); err != nil {
		return nil, fmt.Errorf("%q: %w", e.Path, err)
	}
	e.Extents = []Extent{{Pack: pack}}
	w.Files.Add(1)
	w.Bytes.Add(e.Size)
	return []*Entry{e}, nil
}

// copyTar copies those members of a tar whose contents begin at the offsets of live
// and have the lengths that it says, headers and all, and reads src to its end.
func copyTar(dst io.Writer, src io.Reader, live map[int64]int64) (written int64, err error) {
	in := &tee{r: src}
	tr := tar.NewReader(in)
	out := &countingWriter{w: dst}
	var padding, found int
	copied := false
	for {
		in.held.Reset()
		_, err := tr.Next()
		if err != nil && err != io.EOF {
			return out.n, noTar(err)
		}
		held := in.held.Bytes() // the padding of the member before, and this one's headers
		if len(held) < padding {
			return out.n, errNoTar
		}
		if copied {
			if _, err := out.Write(held[:padding]); err != nil {
				return out.n, err
			}
		}
		if err == io.EOF {
			break
		}
		to := io.Discard
		length, isLive := live[in.n]
		if copied = isLive; copied {
			found++
			to = out
			if _, err := out.Write(held[padding:]); err != nil {
				return out.n, err
			}
		}
		in.pass = true
		n, err := io.Copy(to, tr)
		in.pass = false
		if err != nil {
			return out.n, noTar(err)
		}
		if copied && n != length {
			return out.n, errNoTar
		}
		padding = int(-n & 511)
	}
	if found != len(live) {
		return out.n, errNoTar
	}
	if _, err := out.Write(make([]byte, 1024)); err != nil {
		return out.n, err
	}
	_, err = io.Copy(io.Discard, src)
	return out.n, err
}

var errNoTar = errors.New("what lies in the pack is not the tar that the index says it is")

// noTar tells a fault of the tar from one of what it is read from.
func noTar(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errNoTar
	}
	return err
}

// A tee keeps what is read, but for what is passed on.
type tee struct {
	r    io.Reader
	n    int64
	pass bool
	held bytes.Buffer
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.n += int64(n)
	if !t.pass {
		t.held.Write(p[:n])
	}
	return n, err
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.n += int64(n)
	return n, err
}
