// Package chain says who may make versions of a dataset, and under which data keys: a
// chain of sets of signers, each signed by an owner of the one before, the grants of data
// keys, and certificates for short-lived keys. All of it is in each version root.
// docs/FORMAT.md specifies it. The model is the root role of The Update Framework (TUF
// 1.0, section 5.3): a reader who trusts any link of a chain can follow it to the last
// one, and nobody can take one back.
package chain

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trust"
)

// Limits stated in FORMAT.md.
const (
	MaxLinks   = 4096 // of a chain
	MaxMembers = 256  // owners and writers of a link
	MaxGrants  = 4096
)

// A Role is what a signer may do. A greater role may do what a lesser one may.
type Role int

const (
	None   Role = iota
	Writer      // makes versions
	Owner       // also changes the signers, rotates data keys, and grants them for all
)

func (r Role) String() string {
	switch r {
	case Owner:
		return "owner"
	case Writer:
		return "writer"
	}
	return "no signer"
}

// A Link is one set of signers. Owners and Writers are sorted by their key IDs.
type Link struct {
	Dataset  string
	ID       string // distinguishes datasets with the same name: 16 random bytes in hex
	Sequence int    // from 1
	Created  time.Time
	// After is the number of the newest version when the link was made: every later
	// version carries the link.
	After int64
	// Epoch counts the rotations of the data key. Nothing new is sealed under data keys
	// of earlier epochs.
	Epoch           int
	Owners, Writers []signing.PublicKey
	// Digest is the SHA-256 of the payload, in hex.
	Digest string
}

// Role returns the role of the key in this set.
func (l *Link) Role(key signing.PublicKey) Role {
	switch {
	case key.IsZero():
		return None
	case slices.Contains(l.Owners, key):
		return Owner
	case slices.Contains(l.Writers, key):
		return Writer
	}
	return None
}

// A Chain is a chain of sets of signers, each link verified. It is immutable, and
// safe for concurrent use.
type Chain struct {
	links []Link
	by    []signing.PublicKey // the signer of each
	raw   []string            // signed envelopes
}

// ErrNotOwner is returned if an owner's signature is needed.
var ErrNotOwner = errors.New("only an owner of the dataset may do that")

// New returns a chain of one link, in which the signer is the owner.
func New(ctx context.Context, dataset string, s signing.Signer) (*Chain, error) {
	var id [16]byte
	rand.Read(id[:])
	first := Link{Dataset: dataset, ID: hex.EncodeToString(id[:]), Owners: []signing.PublicKey{s.Public()}}
	return (&Chain{}).sign(ctx, first, s)
}

// Extend returns the chain with one more link, which change makes from the last one.
// after is the number of the newest version.
func (c *Chain) Extend(ctx context.Context, s signing.Signer, after int64, change func(*Link) error) (*Chain, error) {
	next := *c.Last()
	next.Owners, next.Writers = slices.Clone(next.Owners), slices.Clone(next.Writers)
	if next.Role(s.Public()) != Owner {
		return nil, ErrNotOwner
	}
	if len(c.links) == MaxLinks {
		return nil, fmt.Errorf("the signers of dataset %q have changed %d times, which is the bound", next.Dataset, MaxLinks)
	}
	next.After = after
	if err := change(&next); err != nil {
		return nil, err
	}
	return c.sign(ctx, next, s)
}

// sign adds the link.
func (c *Chain) sign(ctx context.Context, l Link, s signing.Signer) (*Chain, error) {
	l.Sequence, l.Created = len(c.links)+1, time.Now().UTC().Truncate(time.Second)
	payload, err := encodeLink(&l, c.previous())
	if err != nil {
		return nil, err
	}
	raw, err := signing.Sign(ctx, s, linkPayload, payload)
	if err != nil {
		return nil, err
	}
	return c.add(l.Dataset, string(raw))
}

// Parse reads a chain and verifies it, except for the links that are already known.
// Every error wraps envelope.ErrAuthentication.
func Parse(dataset string, raw []string, known *Chain) (*Chain, error) {
	if len(raw) == 0 || len(raw) > MaxLinks {
		return nil, fmt.Errorf("a chain of %d sets of signers: %w", len(raw), envelope.ErrAuthentication)
	}
	c := &Chain{}
	if known != nil && known.Last().Dataset == dataset {
		n := 0
		for n < min(len(raw), len(known.raw)) && raw[n] == known.raw[n] {
			n++
		}
		c = &Chain{known.links[:n:n], known.by[:n:n], known.raw[:n:n]}
	}
	for _, r := range raw[len(c.raw):] {
		var err error
		if c, err = c.add(dataset, r); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// add verifies one more link.
func (c *Chain) add(dataset, raw string) (*Chain, error) {
	id, said, err := signing.Unverified([]byte(raw))
	if err != nil {
		return nil, err
	}
	// The signers of a link are in the one before; the first link vouches for itself.
	var may []signing.PublicKey
	if len(c.links) > 0 {
		may = c.Last().Owners
	} else {
		first, _, err := decodeLink(said)
		if err != nil {
			return nil, err
		}
		may = first.Owners
	}
	at := slices.IndexFunc(may, func(k signing.PublicKey) bool { return k.ID() == id })
	if at < 0 {
		return nil, fmt.Errorf("the signers of dataset %q were changed by %s, who was no owner: %w", dataset, id.Short(), envelope.ErrAuthentication)
	}
	payload, err := signing.Open([]byte(raw), linkPayload, may[at])
	if err != nil {
		return nil, fmt.Errorf("the signers of dataset %q: %w", dataset, err)
	}
	l, previous, err := decodeLink(payload)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(payload)
	l.Digest = hex.EncodeToString(sum[:])
	ok := l.Dataset == dataset && previous == c.previous() && l.Sequence == len(c.links)+1
	if len(c.links) > 0 {
		last := c.Last()
		ok = ok && l.ID == last.ID && l.After >= last.After && l.Epoch >= last.Epoch
	} else {
		ok = ok && l.After == 0 && l.Epoch == 0 && len(l.Writers) == 0
	}
	if !ok {
		return nil, fmt.Errorf("the signers of dataset %q are not a chain: %w", dataset, envelope.ErrAuthentication)
	}
	return &Chain{append(slices.Clip(c.links), l), append(slices.Clip(c.by), may[at]), append(slices.Clip(c.raw), raw)}, nil
}

func (c *Chain) previous() string {
	if len(c.links) == 0 {
		return ""
	}
	return c.Last().Digest
}

// Last returns the current set of signers.
func (c *Chain) Last() *Link { return &c.links[len(c.links)-1] }

// At returns the link with a sequence number, or nil.
func (c *Chain) At(sequence int) *Link {
	if sequence < 1 || sequence > len(c.links) {
		return nil
	}
	return &c.links[sequence-1]
}

// Links returns all links in order. They must not be changed.
func (c *Chain) Links() []Link { return c.links }

// ID distinguishes the dataset from others of the same name.
func (c *Chain) ID() string { return c.Last().ID }

// Raw returns the signed envelopes of the links.
func (c *Chain) Raw() []string { return slices.Clone(c.raw) }

// SignedBy reports whether any of the keys has signed a link.
func (c *Chain) SignedBy(keys []signing.PublicKey) bool {
	return slices.ContainsFunc(c.by, func(k signing.PublicKey) bool { return slices.Contains(keys, k) })
}

// Seen returns the chain in the form in which a reader remembers it.
func (c *Chain) Seen() []trust.Link {
	seen := make([]trust.Link, len(c.links))
	for i, l := range c.links {
		seen[i] = trust.Link{Digest: l.Digest, After: l.After}
	}
	return seen
}
