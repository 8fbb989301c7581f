package vault

import (
	"context"
	"errors"
	"slices"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

// ErrNoSigner is returned where a version is to be signed and there is no key for it.
var ErrNoSigner = errors.New("no signing key is configured")

// SigningKey is the key that signs what is made. Where there is none yet, one that can be
// made is made if create is set.
func (v *Vault) SigningKey(ctx context.Context, create bool) (signing.Signer, error) {
	if v.Signer != nil {
		return v.Signer, nil
	}
	if v.OpenSigner != nil {
		return v.OpenSigner(ctx, create)
	}
	if local := v.Keys.Local(); local != nil {
		return signing.OfLocalKey(local)
	}
	return nil, ErrNoSigner
}

// A BilledSigner is a signer of which each signature takes a call that a key service bills.
type BilledSigner interface {
	signing.Signer
	Billed()
}

// PlanSignature counts what a signature of a run will take, in a plan.
func (v *Vault) PlanSignature(s signing.Signer) {
	if _, billed := s.(BilledSigner); !billed {
		return
	}
	if p, ok := As[*plannedStore](v.Store); ok {
		p.kmsCalls.Add(1)
	}
}

// Local is the first local key, or nil.
func (k *Keys) Local() *envelope.LocalKey {
	if k == nil {
		return nil
	}
	for _, w := range slices.Concat(k.Wrap, k.Open) {
		if local, ok := w.(*envelope.LocalKey); ok {
			return local
		}
	}
	return nil
}
