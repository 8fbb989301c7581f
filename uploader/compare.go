package uploader

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/ctxio"
	"github.com/vaultpack/vaultpack/internal/objects"
)

// resolve finds out which files of a tar job the vault already has, by the sums of their
// current contents, and returns those that have to be sent. The files of a sample are
// taken over from one pack, or sent.
func (u *upload) resolve(ctx context.Context, j *job) (send []*item, err error) {
	for i := 0; i < len(j.items); {
		sample := j.items[i].sample
		if sample == nil {
			sample = j.items[i : i+1]
		}
		i += len(sample)
		found := make([]matches, len(sample))
		for k, it := range sample {
			if found[k], err = u.find(ctx, it); err != nil {
				return nil, err
			}
			it.matched = !found[k].none()
		}
		if places := u.together(found); places != nil {
			for k, it := range sample {
				it.reuse(places[k])
			}
			continue
		}
		send = append(send, sample...)
	}
	return send, nil
}

// matches are the places in the vault that hold a file's current contents.
type matches struct {
	known  []known
	places []place // found by their sums, sorted by pack
}

func (m matches) none() bool { return len(m.known)+len(m.places) == 0 }

// maxPlaces is the number of packs that are tried for a sample.
const maxPlaces = 256

// together returns a place for each file of a sample, all of them in one pack, or nil if
// there is no such pack.
func (u *upload) together(found []matches) []known {
	anchor := 0
	for k, m := range found {
		if m.none() {
			return nil
		}
		if n, least := len(m.known)+len(m.places), len(found[anchor].known)+len(found[anchor].places); n < least {
			anchor = k
		}
	}
	options := found[anchor].known
	for _, p := range found[anchor].places[:min(len(found[anchor].places), maxPlaces)] {
		options = append(options[:len(options):len(options)], u.elsewhere.known(p))
	}
	for _, option := range options {
		in := option.extents[0].Pack
		chosen := make([]known, len(found))
		for k, m := range found {
			var ok bool
			if chosen[k], ok = u.within(m, in); k == anchor {
				chosen[k], ok = option, true
			}
			if !ok {
				chosen = nil
				break
			}
		}
		if chosen != nil {
			return chosen
		}
	}
	return nil
}

// within returns a place in the pack.
func (u *upload) within(m matches, pack *tree.Object) (known, bool) {
	for _, k := range m.known {
		if k.extents[0].Pack.ID == pack.ID {
			return k, true
		}
	}
	if p, ok := u.elsewhere.in(m.places, pack.ID); ok {
		return u.elsewhere.known(p), true
	}
	return known{}, false
}

// find looks for the contents of a small file in the vault. It reads the file only if
// there is something to compare it with. Errors of the file are left to the worker
// that sends it.
func (u *upload) find(ctx context.Context, it *item) (matches, error) {
	if it.trusted {
		return matches{known: []known{it.first()}}, nil
	}
	elsewhere := u.compares() && u.elsewhere.has(ctx, it.entry.Size)
	if len(it.known) == 0 && !elsewhere {
		return matches{}, nil
	}
	for try := 0; try < 2; try++ {
		m, err := u.findOnce(ctx, it, elsewhere)
		if !errors.Is(err, errChanged) {
			return m, ignoreFile(err)
		}
	}
	return matches{}, nil
}

// ignoreFile returns only errors of the vault.
func ignoreFile(err error) error {
	var file *stopped
	if errors.As(err, &file) {
		return nil
	}
	return err
}

func (u *upload) findOnce(ctx context.Context, it *item, elsewhere bool) (m matches, err error) {
	planned := it.entry.Size
	f, err := u.openItem(ctx, it)
	if err != nil {
		return m, &stopped{it, err}
	}
	defer f.Close()
	if it.entry.Size != planned {
		return m, nil // what is known has a different size
	}
	var sha hash.Hash
	if u.Checksum {
		sha = sha256.New()
	}
	c := &comparison{u: u, f: f, sha: sha}
	for _, k := range it.known {
		same, err := c.matches(ctx, k.extents)
		if err != nil {
			return matches{}, c.fileError(it, err)
		}
		if same && (sha == nil || k.sum == nil || bytes.Equal(k.sum, c.sha256)) {
			m.known = append(m.known, k)
		}
	}
	if elsewhere && (m.none() || it.sample != nil) {
		x := tree.Extent{Pack: &tree.Object{KeyID: u.key.ID()}, Length: it.entry.Size}
		sum, err := c.sum(ctx, x)
		if err != nil {
			return matches{}, c.fileError(it, err)
		}
		m.places = u.elsewhere.small(it.entry.Size, sum)
	}
	if m.none() {
		return m, nil
	}
	if err := endsAt(f, it.entry.Size); err != nil {
		return matches{}, err
	}
	if err := u.stable(f, it); err != nil {
		return matches{}, err
	}
	if sha != nil {
		it.entry.Sum = c.sha256
	}
	return m, nil
}

// A comparison computes keyed sums of runs of an open file, each only once.
type comparison struct {
	u      *upload
	f      opened
	sha    hash.Hash // nil unless the SHA-256 is needed
	sha256 []byte
	last   tree.Extent // the extent of the last sum
	done   bool
	read   error // an error of reading the file
}

// matches reports whether the file holds what the extents hold.
func (c *comparison) matches(ctx context.Context, extents []tree.Extent) (bool, error) {
	for _, x := range extents {
		sum, err := c.sum(ctx, x)
		if err != nil || sum != x.Sum {
			return false, err
		}
	}
	return true, nil
}

// sum returns the keyed sum of the file's bytes that correspond to the extent.
func (c *comparison) sum(ctx context.Context, x tree.Extent) (envelope.ContentSum, error) {
	if c.done && c.last.At == x.At && c.last.Length == x.Length && c.last.Pack.KeyID == x.Pack.KeyID {
		return c.last.Sum, nil
	}
	h, err := objects.Of(c.u.dataset).ContentHash(ctx, x.Pack.KeyID)
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
	r := c.f.section(ctx, x.At, x.Length)
	defer r.Close()
	n, err := io.Copy(dst, ctxio.Reader(ctx, r))
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

// fileError marks an error of reading the file, to distinguish it from errors of the
// vault.
func (c *comparison) fileError(it *item, err error) error {
	if c.read == nil || errors.Is(err, errChanged) || errors.Is(err, context.Canceled) {
		return err
	}
	return &stopped{it, err}
}

// endsAt returns errChanged if the file continues after off.
func endsAt(f opened, off int64) error {
	if f.goesOn(off) {
		return errChanged
	}
	return nil
}

// comparePiece checks whether the vault has a piece of a large file.
func (u *upload) comparePiece(ctx context.Context, j *job, f opened) (bool, error) {
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
