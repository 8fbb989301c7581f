package commit

import (
	"context"
	"fmt"

	"github.com/vaultpack/vaultpack/dataset"
)

// Change makes a version that changes no files: it begins an upload, calls do to
// commit it, and ends the upload in any case. made says in errors what the version is
// for.
func Change(ctx context.Context, d *dataset.Dataset, source, made string, do func(context.Context, *Lease) (*dataset.Version, error)) (*dataset.Version, error) {
	l, err := Begin(ctx, d, source)
	if err != nil {
		return nil, err
	}
	return l.change(ctx, made, do)
}

// ChangeAnew is like Change, but the version begins a new chain of signers.
func ChangeAnew(ctx context.Context, d *dataset.Dataset, source, made string, do func(context.Context, *Lease) (*dataset.Version, error)) (*dataset.Version, error) {
	l, err := begin(ctx, d, source, newChain)
	if err != nil {
		return nil, err
	}
	return l.change(ctx, made, do)
}

func (l *Lease) change(ctx context.Context, made string, do func(context.Context, *Lease) (*dataset.Version, error)) (v *dataset.Version, err error) {
	defer l.Abandon()
	if l.prev == nil {
		err = fmt.Errorf("dataset %q: %w", l.dataset.Name, dataset.ErrUnknownDataset)
	} else {
		v, err = do(l.Context(), l)
	}
	err = l.Because(err)
	if end := l.End(ctx); end != nil && err == nil {
		return v, fmt.Errorf("version %d was created %s, but: %w", v.Number, made, end)
	}
	return v, err
}
