package rekey

import (
	"context"
	"errors"
	"io"

	"github.com/vaultpack/vaultpack/dataset"
	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/internal/packs"
)

// A span is a run of a pack's plaintext.
type span struct{ off, n int64 }

func spanOf(x tree.Extent) span { return span{x.Offset, x.Length} }

// spans computes the sums of the runs of one pack under another data key, and compares
// those that were recorded under the old one.
type spans struct {
	d        *dataset.Dataset
	from, to envelope.KeyID
	left     []spanSum // wanted, sorted by their offsets
	sums     map[span]envelope.ContentSum
}

type spanSum struct {
	span
	recorded envelope.ContentSum
}

// want adds a run, in the order of their offsets.
func (s *spans) want(x tree.Extent) {
	if !x.HasSum() {
		return
	}
	// Files of equal contents share a run.
	if last := len(s.left) - 1; last < 0 || s.left[last].span != spanOf(x) || s.left[last].recorded != x.Sum {
		s.left = append(s.left, spanSum{spanOf(x), x.Sum})
	}
}

// copy copies r, which is at an offset of the pack, to w up to the end of the last run.
// Runs that overlap an earlier one are left for later.
func (s *spans) copy(ctx context.Context, w io.Writer, r io.Reader, at int64) (err error) {
	from, err := objects.Of(s.d).ContentHash(ctx, s.from)
	if err != nil {
		return err
	}
	defer objects.Of(s.d).ReleaseHash(s.from, from)
	to, err := objects.Of(s.d).ContentHash(ctx, s.to)
	if err != nil {
		return err
	}
	defer objects.Of(s.d).ReleaseHash(s.to, to)
	var left []spanSum
	for _, x := range s.left {
		if err := ctx.Err(); err != nil {
			return err
		}
		if x.off < at {
			left = append(left, x)
			continue
		}
		if _, err := io.CopyN(w, r, x.off-at); err != nil {
			return packs.NoEOF(err)
		}
		if _, err := io.CopyN(io.MultiWriter(w, from, to), r, x.n); err != nil {
			return packs.NoEOF(err)
		}
		if from.Sum() != x.recorded {
			return packs.ErrSum
		}
		s.sums[x.span] = to.Sum()
		at = x.off + x.n
	}
	if len(left) == len(s.left) && len(left) > 0 {
		return errors.New("the runs of a pack begin before it") // the caller begins at the first run
	}
	s.left = left
	return nil
}
