package uploader

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"syscall"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// inMemory is the size up to which a file is read whole before any of it goes
// into a pack, so that one which changes meanwhile costs nothing.
const inMemory = 4 << 20

var errChanged = errors.New("the file changed while it was being read")

// tarEnd is what closes a tar file.
const tarEnd = 1024

// tarSize is how much of a pack a file takes at most.
func tarSize(e *dataset.Entry) int64 {
	const block = 512
	size := block + (e.Size+block-1)/block*block
	const latest = 1<<33 - 1 // what a time in a plain header can be, in seconds
	t := e.ModTime.Unix()
	if long := int64(len(e.Path)); long > 100 || !isASCII(e.Path) || e.Size >= 8<<30 || t < 0 || t >= latest {
		size += block + (long+128+block-1)/block*block // a PAX header before the header
	}
	return size
}

func isASCII(s string) bool {
	for _, c := range []byte(s) {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// tarHeader is what stands before the file's contents in a pack.
func tarHeader(e *dataset.Entry) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: e.Path, Size: e.Size, Mode: int64(e.Mode.Perm()), ModTime: e.ModTime}
}

// runJob writes the job's pack. Files that fail are marked, and the rest is
// written without them. The error it returns is one of the vault.
func (u *Upload) runJob(ctx context.Context, j *job) error {
	if u.DryRun {
		return u.planPack(ctx, j)
	}
	if j.piece {
		return u.sendPiece(ctx, j)
	}
	return u.sendTar(ctx, j)
}

// stopped says that a pack was given up because of one file.
type stopped struct {
	it  *item
	err error
}

func (s *stopped) Error() string { return s.err.Error() }

// sendTar writes small files as a tar. If one of them fails in the middle of its
// contents the pack is begun anew, as another object: with the file once more
// if it has changed, and then without it.
func (u *Upload) sendTar(ctx context.Context, j *job) error {
	tries := map[*item]int{}
	for {
		var good []*item
		var extents []dataset.Extent
		pack, err := u.Dataset.WritePack(ctx, u.key, func(w io.Writer) error {
			good, extents = nil, nil
			out := &offsetWriter{w: w}
			tw := tar.NewWriter(out)
			for _, it := range j.items {
				if it.failed != nil {
					continue
				}
				at, err := u.addToTar(ctx, tw, out, it)
				if err != nil {
					return err
				}
				if it.failed == nil {
					good = append(good, it)
					extents = append(extents, dataset.Extent{Offset: at, Length: it.entry.Size})
				}
			}
			if len(good) == 0 {
				return errEmptyPack
			}
			return tw.Close()
		}, envelope.Workers(u.segments))
		var stop *stopped
		switch {
		case errors.Is(err, errEmptyPack):
			return nil
		case errors.As(err, &stop):
			if tries[stop.it]++; tries[stop.it] > 1 || !errors.Is(stop.err, errChanged) {
				u.failItem(stop.it, stop.err)
			}
			continue
		case err != nil:
			return fmt.Errorf("writing a pack: %w", err)
		}
		j.pack = &pack
		for i, it := range good {
			extents[i].Pack = j.pack
			it.entry.Extents = extents[i : i+1 : i+1]
			u.SentFiles.Add(1)
		}
		u.packDone(j, good)
		return nil
	}
}

var errEmptyPack = errors.New("nothing to pack")

func (u *Upload) failItem(it *item, err error) {
	it.failed = err
	u.fail(it.entry.Path, err)
}

func (u *Upload) packDone(j *job, good []*item) {
	u.Packs.Add(1)
	u.SealedBytes.Add(j.pack.Pin.Size)
	for _, it := range good {
		if !j.piece {
			j.record = append(j.record, it.entry)
			continue
		}
		e := *it.entry
		e.Extents = []dataset.Extent{{Pack: j.pack, Length: j.n, At: j.off}}
		j.record = append(j.record, &e)
	}
}

// An offsetWriter knows how far it has written.
type offsetWriter struct {
	w io.Writer
	n int64
}

func (w *offsetWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.n += int64(n)
	return n, err
}

// addToTar adds one file and tells where its contents begin. A file that cannot
// be read is marked failed; a *stopped error means that the tar is spoilt.
func (u *Upload) addToTar(ctx context.Context, tw *tar.Writer, out *offsetWriter, it *item) (at int64, err error) {
	f, err := u.openItem(ctx, it)
	if err != nil {
		u.failItem(it, err)
		return 0, nil
	}
	defer func() { f.Close() }() // readStable may open it anew
	if out.n+tarSize(it.entry)+tarEnd > u.PackSize && it.entry.Size > it.planned {
		u.failItem(it, errChanged) // it has grown, and the pack has no room for that
		return 0, nil
	}
	var sum hash.Hash
	if u.Checksum {
		sum = sha256.New()
	}
	header := func() (int64, error) {
		err := tw.WriteHeader(tarHeader(it.entry))
		return out.n, err
	}
	if it.entry.Size <= inMemory {
		b, err := u.readStable(ctx, &f, it)
		if err != nil {
			u.failItem(it, err)
			return 0, nil
		}
		if at, err = header(); err != nil {
			return 0, err
		}
		if _, err := tw.Write(b); err != nil {
			return 0, err
		}
		if sum != nil {
			sum.Write(b)
		}
		u.SentBytes.Add(int64(len(b)))
	} else {
		if at, err = header(); err != nil {
			return 0, err
		}
		dst := io.Writer(tw)
		if sum != nil {
			dst = io.MultiWriter(tw, sum)
		}
		if err := u.copyStable(dst, f, it, 0, it.entry.Size); err != nil {
			return 0, err
		}
	}
	if err := tw.Flush(); err != nil {
		return 0, err
	}
	if sum != nil {
		it.entry.Sum = sum.Sum(nil)
	}
	return at, nil
}

// openItem opens the file and takes its attributes over as they are now. Only a
// regular file is opened, and no link followed.
func (u *Upload) openItem(ctx context.Context, it *item) (*os.File, error) {
	settle(ctx, it.entry)
	f, err := os.OpenFile(it.file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errChanged
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	describe(it.entry, info, u.host)
	if tarSize(it.entry)+tarEnd > u.PackSize && len(it.jobs) > 0 && !it.jobs[0].piece {
		f.Close()
		return nil, errChanged // it has outgrown a pack since it was found
	}
	return f, nil
}

// stable tells whether the open file is still as the entry says.
func (u *Upload) stable(f *os.File, it *item) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	now := &dataset.Entry{Path: it.entry.Path}
	describe(now, info, u.host)
	if !sameFile(now, it.entry) {
		return errChanged
	}
	return nil
}

// readStable reads a small file whole, once more if it changes meanwhile.
func (u *Upload) readStable(ctx context.Context, f **os.File, it *item) ([]byte, error) {
	for try := 0; ; try++ {
		var b bytes.Buffer
		b.Grow(int(it.entry.Size) + 512)
		// One byte more than there should be, to notice growth.
		n, err := io.Copy(&b, io.LimitReader(*f, it.entry.Size+1))
		if err == nil && n != it.entry.Size {
			err = errChanged
		}
		if err == nil {
			err = u.stable(*f, it)
		}
		if err == nil {
			return b.Bytes(), nil
		}
		if try > 0 || !errors.Is(err, errChanged) {
			return nil, err
		}
		(*f).Close()
		if *f, err = u.openItem(ctx, it); err != nil {
			return nil, err
		}
		if it.entry.Size > inMemory {
			return nil, errChanged
		}
	}
}

// copyStable copies n bytes from off of the open file. A *stopped error says
// that they cannot be had, or are not those of the file as it was opened.
func (u *Upload) copyStable(dst io.Writer, f *os.File, it *item, off, n int64) error {
	src := &countedFile{r: io.NewSectionReader(f, off, n), n: &u.SentBytes}
	copied, err := io.Copy(dst, src)
	switch {
	case src.err != nil:
		return &stopped{it, src.err}
	case err != nil:
		return err
	case copied != n:
		return &stopped{it, errChanged}
	}
	if err := u.stable(f, it); err != nil {
		return &stopped{it, err}
	}
	return nil
}

// sendPiece writes one piece of a large file. What is wrong with the file is
// left to the finisher, which sees all pieces.
func (u *Upload) sendPiece(ctx context.Context, j *job) error {
	it := j.items[0]
	settle(ctx, it.entry)
	f, err := os.OpenFile(it.file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return &stopped{it, err}
	}
	defer f.Close()
	if err := u.stable(f, it); err != nil {
		return &stopped{it, err}
	}
	pack, err := u.Dataset.WritePack(ctx, u.key, func(w io.Writer) error {
		return u.copyStable(w, f, it, j.off, j.n)
	}, envelope.Workers(u.segments))
	var stop *stopped
	if errors.As(err, &stop) {
		return stop
	}
	if err != nil {
		return fmt.Errorf("writing a pack: %w", err)
	}
	j.pack = &pack
	u.packDone(j, j.items)
	return nil
}

// A countedFile counts what is read, and remembers an error of reading.
type countedFile struct {
	r   io.Reader
	n   interface{ Add(int64) int64 }
	err error
}

func (c *countedFile) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// sumFile is the SHA-256 of the file as it is now.
func sumFile(ctx context.Context, it *item) ([]byte, error) {
	f, err := os.OpenFile(it.file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			return h.Sum(nil), nil
		}
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}
