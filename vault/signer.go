package vault

import (
	"errors"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

// ErrNoSigner is returned where a version is to be signed and there is no key for it.
var ErrNoSigner = errors.New("no signing key is configured")

// SigningKey is the key that signs what is made: Signer, or what is derived from the first
// local key.
func (v *Vault) SigningKey() (signing.Signer, error) {
	if v.Signer != nil {
		return v.Signer, nil
	}
	if v.Keys != nil {
		for _, keys := range [][]envelope.KeyWrapper{v.Keys.Wrap, v.Keys.Open} {
			for _, k := range keys {
				if local, ok := k.(*envelope.LocalKey); ok {
					return signing.OfLocalKey(local)
				}
			}
		}
	}
	return nil, ErrNoSigner
}
