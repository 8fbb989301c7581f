// Package trust keeps what a reader knows of a dataset before the vault is looked at:
// what was pinned, and what was seen before. A vault cannot make it forget either.
package trust

import (
	"context"

	"github.com/vaultpack/vaultpack/signing"
)

// A Known is what is known of a dataset. Its zero value is nothing: first contact.
type Known struct {
	// Links are the digests of the links of its chain of signers that have been seen,
	// the first first, each the SHA-256 of the link's payload in hex. What a reader
	// accepts from then on begins with them.
	Links []string `json:"links,omitempty"`
	// Number is the newest version that has been seen, 0 where none was.
	Number int64 `json:"number,omitempty"`
	// Versions are the digests, in hex, of versions that have been seen or pinned, by
	// their number.
	Versions map[int64]string `json:"versions,omitempty"`
	// Signers are pinned keys: one of them has signed a link of the chain, or the
	// version itself. They come from the configuration and are never remembered.
	Signers []signing.PublicKey `json:"-"`
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
}
