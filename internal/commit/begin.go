package commit

import (
	"context"
	"errors"

	"github.com/vaultpack/vaultpack/internal/given"
	"github.com/vaultpack/vaultpack/internal/objects"
)

var (
	errNoDataset = errors.New("dataset: a dataset that was not opened in a vault")
	errNoLease   = errors.New("dataset: a lease that was not begun")
	errNoIndex   = errors.New("dataset: an index writer that was not made for a dataset")
)

func (l *Lease) begin(ctx context.Context) error {
	return given.Check(ctx, l != nil && l.dataset != nil && objects.Of(l.dataset).Usable() && l.record != nil, errNoLease)
}

func (p *Pending) begin(ctx context.Context) error {
	return given.Check(ctx, p != nil && p.dataset != nil && objects.Of(p.dataset).Usable(), errNoLease)
}

func (w *Index) begin(ctx context.Context) error {
	return given.Check(ctx, w != nil && w.dataset != nil && objects.Of(w.dataset).Usable() && w.packs != nil, errNoIndex)
}
