package vault

import (
	"context"
	"errors"
	"slices"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

// ErrNoSigner is returned if a version must be signed and no signing key is
// configured.
var ErrNoSigner = errors.New("no signing key is configured")

// SigningKey returns the key that signs new versions. If there is none, the error wraps
// [ErrNoSigner].
func (v *Vault) SigningKey(ctx context.Context) (signing.Signer, error) {
	if v.Signer != nil {
		return v.Signer, nil
	}
	if v.OpenSigner != nil {
		return v.OpenSigner(ctx)
	}
	if local := v.Keys.Local(); local != nil {
		return signing.OfLocalKey(local)
	}
	return nil, ErrNoSigner
}

// EnsureSigningKey is like SigningKey, but makes the key with MakeSigner if there is none yet.
func (v *Vault) EnsureSigningKey(ctx context.Context) (signing.Signer, error) {
	s, err := v.SigningKey(ctx)
	if errors.Is(err, ErrNoSigner) && v.MakeSigner != nil {
		return v.MakeSigner(ctx)
	}
	return s, err
}

// A BilledSigner is a signer that makes one call to a key service for each signature,
// which the service bills.
type BilledSigner interface {
	signing.Signer
	Billed()
}

// PlanSignature counts, in a plan, what one signature by s will use.
func (v *Vault) PlanSignature(s signing.Signer) {
	if _, billed := s.(BilledSigner); !billed {
		return
	}
	if p, ok := As[*plannedStore](v.Store); ok {
		p.kmsCalls.Add(1)
	}
}

// Local returns the first local key, or nil.
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
