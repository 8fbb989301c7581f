package uploader

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"syscall"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/tarpack"
)

// inMemory is the size up to which a file is read completely before any of it goes into a
// pack, so that a file that changes while it is read costs nothing.
const inMemory = 4 << 20

var errChanged = errors.New("the file changed while it was being read")

// These open files and folders of the source. They are variables only for tests.
var (
	openSource = openRegular
	openFolder = os.Open
)

// openRegular opens a file without following links.
func openRegular(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

// openItem opens the file and updates the entry with its current attributes.
func (u *upload) openItem(ctx context.Context, it *item) (opened, error) {
	if u.bucket == nil {
		settle(ctx, it.entry)
	} else if err := u.repin(ctx, it); err != nil {
		return nil, err
	}
	f, err := u.openFile(it)
	if err != nil {
		return nil, err
	}
	if err := f.describe(it.entry); err != nil {
		f.Close()
		return nil, err
	}
	it.entry.Flaw = ""
	if tarpack.Size(it.entry)+tarpack.End > u.PackSize && len(it.jobs) > 0 && !it.jobs[0].piece {
		f.Close()
		return nil, errChanged // it no longer fits into a pack
	}
	return f, nil
}

// stable reports errChanged if the open file no longer matches the entry. For an item
// that is torn anyway, it only records that.
func (u *upload) stable(f opened, it *item) error {
	now := &tree.Entry{Path: it.entry.Path}
	if err := f.describe(now); err != nil {
		return err
	}
	if sameFile(now, it.entry) {
		return nil
	}
	if it.torn {
		it.entry.Flaw = tree.FlawTorn
		return nil
	}
	return errChanged
}

// mayTear reports whether there is nothing better for the file than what is read while
// it changes. An object is always read in one state.
func (it *item) mayTear() bool {
	return it.pin == nil && (it.then == nil || it.then.Flaw == tree.FlawTorn)
}

// readStable reads a small file completely, and once more if it changes while it is read.
// A file that changes again is accepted as read, if the item is torn.
func (u *upload) readStable(ctx context.Context, f *opened, it *item) ([]byte, error) {
	for try := 0; ; try++ {
		b, err := u.readWhole(ctx, *f, it)
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, errChanged) {
			return nil, err
		}
		if try > 0 && !it.mayTear() {
			return nil, err
		}
		it.torn = try > 0
		(*f).Close()
		if *f, err = u.openItem(ctx, it); err != nil {
			return nil, err
		}
		if it.entry.Size > inMemory {
			return nil, errChanged
		}
	}
}

// readWhole reads a small file. If the item is torn, the entry gets the size that was
// read.
func (u *upload) readWhole(ctx context.Context, f opened, it *item) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(it.entry.Size) + 512)
	// One byte more than expected, to notice growth.
	r := f.section(ctx, 0, it.entry.Size+1)
	defer r.Close()
	n, err := io.Copy(&b, r)
	if err != nil {
		return nil, err
	}
	switch {
	case n == it.entry.Size:
	case it.torn && n > it.entry.Size:
		b.Truncate(int(it.entry.Size))
		it.entry.Flaw = tree.FlawTorn
	case it.torn:
		it.entry.Size, it.entry.Flaw = n, tree.FlawTorn
	default:
		return nil, errChanged
	}
	return b.Bytes(), u.stable(f, it)
}

// copyStable copies n bytes from off of the open file, and adds them to sum, whose Write
// cannot fail. A *stopped error says that the bytes cannot be read, or are not those of
// the file as it was opened.
func (u *upload) copyStable(ctx context.Context, dst, sum io.Writer, f opened, it *item, off, n int64) error {
	r := f.section(ctx, off, n)
	defer r.Close()
	src := &countedFile{r: r, n: &u.SentBytes, sum: sum}
	copied, err := io.Copy(dst, src)
	switch {
	case src.err != nil:
		return &stopped{it, src.err}
	case err != nil:
		return err
	case copied != n || off+n == it.entry.Size && !it.torn && endsAt(f, off+n) != nil:
		return &stopped{it, errChanged}
	}
	if err := u.stable(f, it); err != nil {
		return &stopped{it, err}
	}
	return nil
}

// A stopped error says that a pack was given up because of one file.
type stopped struct {
	it  *item
	err error
}

func (s *stopped) Error() string { return s.err.Error() }
func (s *stopped) Unwrap() error { return s.err }

// A countedFile counts what is read, adds it to a sum, and remembers an error of reading.
// It is a reader, not a second writer next to the destination, so that the destination
// can read directly into its own buffers.
type countedFile struct {
	r   io.Reader
	n   interface{ Add(int64) int64 }
	sum io.Writer
	err error
}

func (c *countedFile) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	c.sum.Write(p[:n])
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// sums computes the keyed sum of some contents, and their SHA-256 if requested.
type sums struct {
	keyed *envelope.ContentHash
	sha   hash.Hash // nil unless requested
}

func (u *upload) newSums() (*sums, error) {
	keyed, err := envelope.NewContentHash(u.key)
	if err != nil {
		return nil, err
	}
	s := &sums{keyed: keyed}
	if u.Checksum {
		s.sha = sha256.New()
	}
	return s, nil
}

func (s *sums) Write(p []byte) (int, error) {
	if s.sha != nil {
		s.sha.Write(p)
	}
	return s.keyed.Write(p)
}

// reset prepares for the next contents.
func (s *sums) reset() {
	s.keyed.Reset()
	if s.sha != nil {
		s.sha.Reset()
	}
}

// take stores the SHA-256 in the entry, and returns the keyed sum.
func (s *sums) take(e *tree.Entry) envelope.ContentSum {
	if s.sha != nil {
		e.Sum = s.sha.Sum(nil)
		s.sha.Reset()
	}
	return s.keyed.Sum()
}
