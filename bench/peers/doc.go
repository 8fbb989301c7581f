// Package peers compares vaultpack with other Go packages that encrypt streams,
// on the same bytes in memory and in the same run:
//
//	go test -run '^$' -bench . -benchtime 3x
//
// It is a separate module, so that users of vaultpack do not inherit the others'
// dependencies. Each is used as its documentation says, with AES-256-GCM if it
// supports that, with a key that is already in memory; go.mod has the versions.
//
//	vaultpack  this module, on all cores
//	age        ChaCha20-Poly1305, 64 KiB chunks, an X25519 recipient
//	sio        AES-256-GCM, DARE 2.0, 64 KiB packages
//	tink       AES256-GCM-HKDF streaming, 1 MiB segments
//	awsesdk    AWS Encryption SDK, raw AES keyring, 4 KiB frames (its default)
//	limit      not a peer: the bare cipher of the standard library, all cores
package peers
