package objects

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vaultpack/vaultpack/vault"
)

// SweepUnfinished removes half-written objects of dead writers. If the store cannot
// identify them, the error wraps errors.ErrUnsupported.
func (s *Set) SweepUnfinished(ctx context.Context) error {
	w, ok := vault.As[vault.Sweeper](s.Vault.Store)
	if !ok {
		return errNoSweep
	}
	return w.Sweep(ctx, s.Name+"/")
}

var errNoSweep = fmt.Errorf("the vault's store cannot tell what writers that died have left half-written: %w", errors.ErrUnsupported)

// SweepOlder is like SweepUnfinished, but if the store cannot distinguish dead writers
// from live ones, anything at least age old counts as dead. It returns how many
// multipart uploads were aborted.
func (s *Set) SweepOlder(ctx context.Context, age time.Duration) (aborted int, err error) {
	if w, ok := vault.As[vault.UploadKeeper](s.Vault.Store); ok {
		return w.AbortStale(ctx, s.Name+"/", age)
	}
	return 0, s.SweepUnfinished(ctx)
}

// CountOlder returns how many multipart uploads SweepOlder would abort: 0 if the store
// has none.
func (s *Set) CountOlder(ctx context.Context, age time.Duration) (int, error) {
	if w, ok := vault.As[vault.UploadKeeper](s.Vault.Store); ok {
		return w.CountStale(ctx, s.Name+"/", age)
	}
	if _, ok := vault.As[vault.Sweeper](s.Vault.Store); !ok {
		return 0, errNoSweep
	}
	return 0, nil
}
