// Package trust keeps what a reader knows about a dataset before reading the vault:
// what was pinned, and what was seen before. A vault cannot make it forget either.
package trust

import (
	"context"

	"github.com/vaultpack/vaultpack/signing"
)

// A Known holds what is known about a dataset. Its zero value means that nothing is
// known: first contact.
type Known struct {
	// Links holds the part of the chain of signers that has been seen, the first link
	// first. A reader then accepts only chains that begin with it.
	Links []Link `json:"links,omitempty"`
	// Number is the newest version that has been seen, or 0 if none has.
	Number int64 `json:"number,omitempty"`
	// Versions maps version numbers to the digests, in hex, of versions that have
	// been seen or pinned.
	Versions map[int64]string `json:"versions,omitempty"`
	// Begun is the digest of the first link of a chain that this user has made for a
	// first version, which may not exist yet. It is not an anchor of trust.
	Begun string `json:"begun,omitempty"`
	// Signers are pinned keys: one of them must have signed a link of the chain,
	// or the version itself. They come from the configuration and are never
	// remembered.
	Signers []signing.PublicKey `json:"-"`
}

// A Link is a link of a chain of signers.
type Link struct {
	// Digest is the SHA-256 of the link's payload, in hex.
	Digest string `json:"digest"`
	// After is the number of the newest version when the link was made. Every version
	// after it carries the link.
	After int64 `json:"after"`
}

// A Memory keeps what is known about datasets. It must be safe for concurrent use.
type Memory interface {
	// Recall returns what is known about a dataset.
	Recall(ctx context.Context, dataset string) (Known, error)
	// Remember adds what was seen and accepted to what is known: the longer chain, the
	// higher number, all versions. If the two contradict each other, it returns an
	// error that wraps envelope.ErrAuthentication. That happens if another process has
	// remembered something different in the meantime.
	Remember(ctx context.Context, dataset string, seen Known) error
	// Forget removes what is remembered about a dataset that the user has removed.
	// Pins stay.
	Forget(ctx context.Context, dataset string) error
}
