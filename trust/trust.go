// Package trust keeps what a reader knows of a dataset before the vault is looked at:
// what was pinned, and what was seen before. A vault cannot make it forget either.
package trust

import (
	"context"

	"github.com/vaultpack/vaultpack/signing"
)

// A Known is what is known of a dataset. Its zero value is nothing: first contact.
type Known struct {
	// Links is as much of its chain of signers as has been seen, the first link first.
	// What a reader accepts from then on begins with them.
	Links []Link `json:"links,omitempty"`
	// Number is the newest version that has been seen, 0 where none was.
	Number int64 `json:"number,omitempty"`
	// Versions are the digests, in hex, of versions that have been seen or pinned, by
	// their number.
	Versions map[int64]string `json:"versions,omitempty"`
	// Begun is the digest of the first link of a chain that this user has made for a
	// first version, which may not be there yet. It is no anchor.
	Begun string `json:"begun,omitempty"`
	// Signers are pinned keys: one of them has signed a link of the chain, or the
	// version itself. They come from the configuration and are never remembered.
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

// A Memory keeps what is known. It is safe for concurrent use.
type Memory interface {
	// Recall tells what is known of a dataset.
	Recall(ctx context.Context, dataset string) (Known, error)
	// Remember adds what was seen and believed to what is known: the longer chain, the
	// higher number, all versions. It returns an error that wraps
	// envelope.ErrAuthentication where the two contradict each other, which happens
	// when another process has learned of something else meanwhile.
	Remember(ctx context.Context, dataset string, seen Known) error
	// Forget ends what is remembered of a dataset, which the user has removed. What is
	// pinned stays.
	Forget(ctx context.Context, dataset string) error
}
