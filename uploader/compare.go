package uploader

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/envelope"
)

// resolve finds out which files of a tar job the vault has already, by the sums of
// what they hold now, and gives those that are to be sent.
func (u *Upload) resolve(ctx context.Context, j *job) (send []*item, err error) {
	for i := 0; i < len(j.items); {
		it := j.items[i]
		sample := it.sample
		if sample == nil {
			sample = j.items[i : i+1]
		}
		i += len(sample)
		known := make([]known, len(sample))
		all := true
		for k, it := range sample {
			var ok bool
			if known[k], ok, err = u.find(ctx, it); err != nil {
				return nil, err
			}
			if all = all && ok; !all {
				break
			}
		}
		if !all {
			send = append(send, sample...)
			continue
		}
		for k, it := range sample {
			it.reuse(known[k])
		}
	}
	return send, nil
}

// find looks for the contents of a small file in the vault. It reads the file only
// if there is something to compare it with. What goes wrong with the file is left
// to the one that is to send it.
func (u *Upload) find(ctx context.Context, it *item) (known, bool, error) {
	if it.trusted {
		return it.known[0], true, nil
	}
	elsewhere := u.elsewhere.has(ctx, it.entry.Size)
	if len(it.known) == 0 && !elsewhere {
		return known{}, false, nil
	}
	for try := 0; try < 2; try++ {
		k, ok, err := u.findOnce(ctx, it, elsewhere)
		if !errors.Is(err, errChanged) {
			return k, ok, ignoreFile(err)
		}
	}
	return known{}, false, nil
}

// ignoreFile passes on errors of the vault only.
func ignoreFile(err error) error {
	var file *stopped
	if errors.As(err, &file) {
		return nil
	}
	return err
}

func (u *Upload) findOnce(ctx context.Context, it *item, elsewhere bool) (found known, ok bool, err error) {
	planned := it.entry.Size
	f, err := u.openItem(ctx, it)
	if err != nil {
		return known{}, false, &stopped{it, err}
	}
	defer f.Close()
	if it.entry.Size != planned {
		return known{}, false, nil // what is known was of another size
	}
	var sha hash.Hash
	if u.Checksum {
		sha = sha256.New()
	}
	c := &comparison{u: u, f: f, sha: sha}
	for _, k := range it.known {
		if ok, err = c.matches(ctx, k.extents); err != nil {
			return known{}, false, c.fileError(it, err)
		}
		if ok {
			found = k
			break
		}
	}
	if !ok && elsewhere {
		x := dataset.Extent{Pack: &dataset.Object{KeyID: u.key.ID()}, Length: it.entry.Size}
		sum, err := c.sum(ctx, x)
		if err != nil {
			return known{}, false, c.fileError(it, err)
		}
		if found.extents, ok = u.elsewhere.small(it.entry.Size, sum); ok {
			ok = u.inVault(found.extents, true)
		}
	}
	if !ok {
		return known{}, false, nil
	}
	if err := u.stable(f, it); err != nil {
		return known{}, false, err
	}
	if sha != nil {
		it.entry.Sum = c.sha256
		if found.sum != nil && !bytes.Equal(found.sum, c.sha256) {
			return known{}, false, nil
		}
	}
	return found, true, nil
}

// A comparison computes keyed sums of runs of an open file, each once.
type comparison struct {
	u      *Upload
	f      *os.File
	sha    hash.Hash // nil unless the SHA-256 is wanted
	sha256 []byte
	last   dataset.Extent // whose sum it is
	done   bool
	read   error // of the file
}

// matches reports whether the file holds what the extents hold.
func (c *comparison) matches(ctx context.Context, extents []dataset.Extent) (bool, error) {
	for _, x := range extents {
		sum, err := c.sum(ctx, x)
		if err != nil || sum != x.Sum {
			return false, err
		}
	}
	return true, nil
}

// sum is the keyed sum of the file's bytes in the place of the extent.
func (c *comparison) sum(ctx context.Context, x dataset.Extent) (envelope.ContentSum, error) {
	if c.done && c.last.At == x.At && c.last.Length == x.Length && c.last.Pack.KeyID == x.Pack.KeyID {
		return c.last.Sum, nil
	}
	h, err := c.u.Dataset.ContentHash(ctx, x.Pack.KeyID)
	if err != nil {
		return envelope.ContentSum{}, err
	}
	dst := io.Writer(h)
	if c.sha != nil && x.At == 0 {
		c.sha.Reset()
	}
	if c.sha != nil {
		dst = io.MultiWriter(h, c.sha)
	}
	n, err := io.Copy(dst, ctxReader{ctx, io.NewSectionReader(c.f, x.At, x.Length)})
	if err == nil && n != x.Length {
		err = errChanged
	}
	if err != nil {
		c.read = err
		return envelope.ContentSum{}, err
	}
	if c.sha != nil {
		c.sha256 = c.sha.Sum(nil)
	}
	c.last, c.done = x, true
	c.last.Sum = h.Sum()
	return c.last.Sum, nil
}

// fileError marks an error of reading the file, to tell it from one of the vault.
func (c *comparison) fileError(it *item, err error) error {
	if c.read == nil || errors.Is(err, errChanged) || errors.Is(err, context.Canceled) {
		return err
	}
	return &stopped{it, err}
}

// comparePiece looks whether the vault has a piece of a large file.
func (u *Upload) comparePiece(ctx context.Context, j *job, f *os.File) (bool, error) {
	c := &comparison{u: u, f: f}
	for _, x := range j.known {
		at := x.Extent
		at.At = j.off
		sum, err := c.sum(ctx, at)
		if err != nil {
			return false, c.fileError(j.items[0], err)
		}
		if sum == x.Sum {
			j.reuse(x)
			return true, nil
		}
	}
	return false, nil
}

// A ctxReader ends when the context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
