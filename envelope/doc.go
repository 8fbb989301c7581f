// Package envelope seals byte streams under data keys, and wraps data keys under
// other keys: envelope encryption in vaultpack's format 1 (docs/FORMAT.md).
//
//	SealFrom, Seal, Open, OpenAt       a file on its own, with its wrapped key in its header
//	NewWriter, NewReader, NewReaderAt  many files under one data key, whose Keyring is kept elsewhere
//	LocalKey, Passphrase, Recipient    keys that wrap data keys; for others implement KeyWrapper
//
// Any change to a sealed file, whether a flipped bit, a truncation, or an exchange
// of segments or files, is reported as [ErrAuthentication] before any affected
// plaintext is returned. It is AES-256-GCM in the construction
// c2sp.org/chunked-encryption, with a random salt for every 1 MiB segment: no
// state guards a nonce.
//
// Finishing a file. A sealed file is complete when [Writer.Close] has returned
// nil. Until then no reader of it returns io.EOF. Close does not complete a file
// if the Writer has seen an error, panic or runtime.Goexit of its destination or
// source, or if the calling goroutine is unwinding from a panic or runtime.Goexit.
// A Writer cannot know of errors that its owner meets elsewhere: defer
// [Writer.Abort] instead of Close, and call Close last; or use [SealFrom], which
// does both.
//
// Every use of a key that was wiped, copied, or never made returns an error that
// wraps [ErrKeyUnusable], even if another goroutine calls Wipe at the same time.
// Sources, destinations and key services are not trusted to keep the contracts of
// package io: an impossible count, no progress, or a short read without an error
// is an error. Their panics reach the calling goroutine.
//
// Sizes are not hidden. Anyone who holds a data key can forge sealed files. An old
// version of a whole file is valid: keep [Writer.Pin] to detect it. A stream is
// authentic as far as it has been read; only io.EOF shows that it is complete. A
// file holds at most 2^62 bytes, and a data key seals at most 2^32 files. Later
// releases will open format 1. To cancel, make the source, the destination or the
// key service fail: nothing else blocks.
package envelope
