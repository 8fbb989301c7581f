package objects

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vaultpack/vaultpack/vault"
)

// SweepUnfinished removes what writers that died have left half-written. Of a store
// that cannot tell the error wraps errors.ErrUnsupported.
func (s *Set) SweepUnfinished(ctx context.Context) error {
	w, ok := vault.As[vault.Sweeper](s.Vault.Store)
	if !ok {
		return errNoSweep
	}
	return w.Sweep(ctx, s.Name+"/")
}

var errNoSweep = fmt.Errorf("the vault's store cannot tell what writers that died have left half-written: %w", errors.ErrUnsupported)

// SweepOlder is SweepUnfinished, but where the store cannot tell the dead from the
// living, what is at least age old is dead. It tells how many multipart uploads
// were aborted.
func (s *Set) SweepOlder(ctx context.Context, age time.Duration) (aborted int, err error) {
	if w, ok := vault.As[vault.UploadKeeper](s.Vault.Store); ok {
		return w.AbortStale(ctx, s.Name+"/", age)
	}
	return 0, s.SweepUnfinished(ctx)
}

// CountOlder tells how many multipart uploads sweepOlder would abort: none where the
// store has no such thing.
func (s *Set) CountOlder(ctx context.Context, age time.Duration) (int, error) {
	if w, ok := vault.As[vault.UploadKeeper](s.Vault.Store); ok {
		return w.CountStale(ctx, s.Name+"/", age)
	}
	if _, ok := vault.As[vault.Sweeper](s.Vault.Store); !ok {
		return 0, errNoSweep
	}
	return 0, nil
}
