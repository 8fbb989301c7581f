// Package envelope seals byte streams under data keys, and wraps data keys under
// other keys: envelope encryption in vaultpack's format 1 (docs/FORMAT.md).
//
//	Seal, Open, OpenAt                 a file on its own, with its wrapped key in its header
//	NewWriter, NewReader, NewReaderAt  many files under one data key, whose Keyring is kept beside
//	LocalKey, Passphrase, Recipient    keys that wrap data keys; for others implement KeyWrapper
//
// Any change to a sealed file, be it a bit, a cut, or segments or files exchanged,
// is found before any affected plaintext is returned, as [ErrAuthentication]. It
// is AES-256-GCM in the construction c2sp.org/chunked-encryption, with a random
// salt for every 1 MiB segment: no state guards a nonce.
//
// Sizes are not hidden. Who holds a data key can forge. An old version of a whole
// file is valid: keep [Writer.Pin] to tell. A stream is authentic as far as it has
// been read; that it is complete is known at io.EOF. A file may have 2^62 bytes, a
// data key 2^32 files. Later releases open format 1. To cancel, make the source,
// the destination or the key service fail: nothing else blocks.
package envelope
