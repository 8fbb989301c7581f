// Package envelope seals byte streams under data keys, and wraps data keys
// under key encryption keys: envelope encryption in vaultpack's format 1, which
// docs/FORMAT.md specifies to the byte.
//
// [Seal] and [Open] are all that a file on its own needs: a fresh data key for
// each file, wrapped by every [KeyWrapper] given (a local key, a key management
// service, your own), and kept in the file's header. [OpenAt] reads ranges.
// For many files under one data key, keep a [Keyring] beside them and use
// [NewWriter], [NewReader] and [NewReaderAt].
//
// # What it promises
//
// Whoever can change a sealed file in any way, by a bit, a cut, an exchange of
// segments or files, is found out before any affected plaintext is returned.
// All such failures are [ErrAuthentication]. Encryption is AES-256-GCM in the
// construction c2sp.org/chunked-encryption (Cobblestone-256), with a random
// 24-byte salt for every 1 MiB segment: no state that could be lost, copied or
// rolled back guards a nonce.
//
// # What it does not
//
// The size is not hidden. A holder of the data key can forge. An older version
// of a whole file is a valid file: to tell versions apart, keep [Writer.Pin].
// A stream being read is authentic as far as it has been read; that it is
// complete is known at io.EOF.
//
// # Limits
//
// A sealed file holds up to 2^63 bytes, and a data key may seal 2^32 files with
// no thought for bounds; docs/FORMAT.md has the arithmetic. Files of format 1
// will open with every later release.
package envelope
