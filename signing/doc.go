// Package signing signs and verifies versions of datasets, changes of their signers,
// and the results of training jobs.
//
// A signature is in a DSSE envelope (https://github.com/secure-systems-lab/dsse, version
// 1.0.2), mostly around an in-toto statement (https://in-toto.io/Statement/v1), so that
// other tools can check it. Keys are Ed25519 (RFC 8032), and ECDSA on P-256 with SHA-256
// (FIPS 186-5) for keys that cannot be Ed25519. A public key is its SubjectPublicKeyInfo
// (RFC 5280), which names its algorithm: ML-DSA (FIPS 204) can be added under the
// identifiers of RFC 9881 without changing any format.
//
// A [Signer] is a key in memory, an OpenSSH key ([ParseOpenSSH]), a key in
// ssh-agent ([AgentKey]), or a key in AWS KMS (package envelope/awskms).
package signing
