package provenance

import "github.com/vaultpack/vaultpack/signing"

// NewCertificate is a certificate that nobody has given.
func NewCertificate(run Run, delegation string, key *signing.PrivateKey) *Certificate {
	return &Certificate{Run: run, Delegation: delegation, key: key}
}
