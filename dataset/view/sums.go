package view

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"sort"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/packs"
)

// comparedFirst is the size up to which a file is compared with its sums before any of it
// is returned.
const comparedFirst = 1 << 20

func unauthentic(err error) bool { return errors.Is(err, envelope.ErrAuthentication) }

// compare compares the contents of a whole file with the sums in its entry.
func (v *View) compare(ctx context.Context, e *tree.Entry) error {
	whole := sha256.New()
	for _, x := range e.Extents {
		var h *envelope.ContentHash
		if x.HasSum() {
			var err error
			if h, err = v.set.ContentHash(ctx, x.Pack.KeyID); err != nil {
				return err
			}
		}
		err := v.pages.visit(ctx, x.Pack, x.Offset, x.Length, anyOrder, func(b []byte) {
			if h != nil {
				h.Write(b)
			}
			if e.Sum != nil {
				whole.Write(b)
			}
		})
		same := err != nil || h == nil || h.Sum() == x.Sum
		v.set.ReleaseHash(x.Pack.KeyID, h)
		switch {
		case err != nil:
			return err
		case !same:
			return v.set.PackError(x.Pack, packs.ErrSum)
		}
	}
	if e.Sum != nil && !bytes.Equal(whole.Sum(nil), e.Sum) {
		return packs.ErrSHA256
	}
	return nil
}

// sums compares the extents of a file that are read in order, from their first byte on. The
// zero value is ready.
type sums struct {
	hash *envelope.ContentHash
	x    tree.Extent // that hash is of, up to next
	next int64
}

// add takes in what was read from off on.
func (s *sums) add(f *File, p []byte, off int64) error {
	if f.entry.Size <= comparedFirst {
		return nil // it was compared before
	}
	for len(p) > 0 {
		if s.hash == nil || off != s.next {
			s.drop(f)
			skip, err := s.begin(f, off)
			if err != nil {
				return err
			}
			if skip >= int64(len(p)) {
				return nil
			}
			p, off = p[skip:], off+skip
			continue
		}
		n := min(int64(len(p)), s.x.At+s.x.Length-off)
		s.hash.Write(p[:n])
		p, off = p[n:], off+n
		if s.next = off; off == s.x.At+s.x.Length {
			sum := s.hash.Sum()
			s.drop(f)
			if sum != s.x.Sum {
				return f.view.set.PackError(s.x.Pack, packs.ErrSum)
			}
		}
	}
	return nil
}

// begin begins with the first extent that has a sum and starts at off or behind it, and
// returns how far that is, in bytes.
func (s *sums) begin(f *File, off int64) (skip int64, err error) {
	all := f.entry.Extents
	i := sort.Search(len(all), func(i int) bool { return all[i].At >= off })
	for ; i < len(all); i++ {
		if x := all[i]; x.HasSum() && x.Length > 0 {
			s.hash, err = f.view.set.ContentHash(f.view.ctx, x.Pack.KeyID)
			s.x, s.next = x, x.At
			return x.At - off, err
		}
	}
	return f.entry.Size - off, nil
}

func (s *sums) drop(f *File) {
	if s.hash != nil {
		f.view.set.ReleaseHash(s.x.Pack.KeyID, s.hash)
		s.hash = nil
	}
}
