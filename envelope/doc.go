// Package envelope seals byte streams under data keys, and wraps data keys under
// other keys: envelope encryption in vaultpack's format 1 (docs/FORMAT.md).
//
//	SealFrom, Seal, Open, OpenAt       a file on its own, with its wrapped key in its header
//	NewWriter, NewReader, NewReaderAt  many files under one data key, whose Keyring is kept beside
//	LocalKey, Passphrase, Recipient    keys that wrap data keys; for others implement KeyWrapper
//
// Any change to a sealed file, be it a bit, a cut, or segments or files exchanged,
// is found before any affected plaintext is returned, as [ErrAuthentication]. It
// is AES-256-GCM in the construction c2sp.org/chunked-encryption, with a random
// salt for every 1 MiB segment: no state guards a nonce.
//
// Finishing a file. It is complete when [Writer.Close] has returned nil, and until
// then opens to no reader's io.EOF. Any error, panic or runtime.Goexit that a
// Writer has seen, of its destination or its source, keeps Close from completing
// it, and so does a panic or runtime.Goexit that its owner unwinds from. An error
// that the owner met elsewhere no Writer can know: defer [Writer.Abort] instead
// of Close, and call Close last; or use [SealFrom], which does both.
//
// Keys that were wiped, copied, or never made are refused by every use with an
// error that wraps [ErrKeyUnusable], also beside a Wipe in another goroutine.
// Sources, destinations and key services are not trusted to keep the contracts of
// package io: a count that cannot be, no progress, or a short read without an
// error is an error. Their panics reach the goroutine that called.
//
// Sizes are not hidden. Who holds a data key can forge. An old version of a whole
// file is valid: keep [Writer.Pin] to tell. A stream is authentic as far as it has
// been read; that it is complete is known at io.EOF. A file may have 2^62 bytes, a
// data key 2^32 files. Later releases open format 1. To cancel, make the source,
// the destination or the key service fail: nothing else blocks.
package envelope
