package objects

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/signing"
	"github.com/vaultpack/vaultpack/trust"
)

// A belief is what is known about a dataset: what the user's memory holds, and what has
// been verified since.
type belief struct {
	mu      sync.Mutex
	loaded  bool
	known   trust.Known
	longest *chain.Chain
	grants  map[string]verified // by their envelopes
}

// A verified grant belongs to the chain that has this link.
type verified struct {
	chain.Grant
	link string // digest
}

func (b *belief) chain() *chain.Chain {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.longest
}

// grant reads a grant of the chain. Each grant is verified only once.
func (b *belief) grant(c *chain.Chain, raw string) (chain.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g, ok := b.grants[raw]; ok {
		if l := c.At(g.Sequence); l != nil && l.Digest == g.link {
			return g.Grant, nil
		}
	}
	return c.ParseGrant(raw)
}

// keep stores what has been verified and is believed.
func (b *belief) keep(r *Root) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.longest == nil || len(r.Chain.Links()) > len(b.longest.Links()) {
		b.longest = r.Chain
	}
	if b.grants == nil {
		b.grants = map[string]verified{}
	}
	for _, g := range r.Grants {
		b.grants[g.Raw()] = verified{g, r.Chain.At(g.Sequence).Digest}
	}
}

// An UntrustedError reports that a version does not belong to the dataset that the reader
// knows, although its signature is valid. It wraps envelope.ErrAuthentication.
type UntrustedError struct {
	Dataset string
	Number  int64 // 0 if the error is not about one version
	// Reason says what was expected and what was found.
	Reason string
}

func (e *UntrustedError) Error() string {
	what := fmt.Sprintf("dataset %q", e.Dataset)
	if e.Number > 0 {
		what = fmt.Sprintf("version %d of dataset %q", e.Number, e.Dataset)
	}
	return fmt.Sprintf("%s: %s: %v", what, e.Reason, envelope.ErrAuthentication)
}

func (e *UntrustedError) Unwrap() error { return envelope.ErrAuthentication }

// A RollbackError reports that the newest version of a dataset is older than one seen
// before. It wraps envelope.ErrAuthentication.
type RollbackError struct {
	Dataset string
	Newest  int64 // 0 if the vault lists none
	AtLeast int64
}

func (e *RollbackError) Error() string {
	return fmt.Sprintf("the newest version of dataset %q in the vault is %d, but version %d existed: %v",
		e.Dataset, e.Newest, e.AtLeast, envelope.ErrAuthentication)
}

func (e *RollbackError) Unwrap() error { return envelope.ErrAuthentication }

// Known returns what is known about the dataset.
func (s *Set) Known(ctx context.Context) (trust.Known, error) {
	s.belief.mu.Lock()
	defer s.belief.mu.Unlock()
	if !s.belief.loaded && s.Vault.Trust != nil {
		known, err := s.Vault.Trust.Recall(ctx, s.Name)
		if err != nil {
			return trust.Known{}, err
		}
		s.belief.known = known
	}
	s.belief.loaded = true
	k := s.belief.known
	k.Versions = maps.Clone(k.Versions)
	return k, nil
}

// Remember adds to what is known.
func (s *Set) Remember(ctx context.Context, seen trust.Known) error {
	if _, err := s.Known(ctx); err != nil {
		return err
	}
	if s.Vault.Trust != nil && !s.Planned() {
		if err := s.Vault.Trust.Remember(ctx, s.Name, seen); err != nil {
			return err
		}
	}
	s.belief.mu.Lock()
	defer s.belief.mu.Unlock()
	k := &s.belief.known
	if len(seen.Links) > len(k.Links) {
		k.Links = seen.Links
	}
	k.Number = max(k.Number, seen.Number)
	if k.Versions == nil {
		k.Versions = map[int64]string{}
	}
	maps.Copy(k.Versions, seen.Versions)
	if seen.Begun != "" {
		k.Begun = seen.Begun
	}
	return nil
}

// Pin makes the version with this number be believed only if it has this digest, in
// hex. An empty digest pins nothing.
func (s *Set) Pin(ctx context.Context, number int64, digest string) error {
	if digest == "" {
		return nil
	}
	known, err := s.Known(ctx)
	if err != nil {
		return err
	}
	if was := known.Versions[number]; was != "" && was != digest {
		return &UntrustedError{s.Name, number, fmt.Sprintf("its digest is to be %s, but the version that was seen or pinned before has %s", digest, was)}
	}
	s.belief.mu.Lock()
	defer s.belief.mu.Unlock()
	if s.belief.known.Versions == nil {
		s.belief.known.Versions = map[int64]string{}
	}
	s.belief.known.Versions[number] = digest
	return nil
}

// Forget removes what is known about the dataset, which has been removed.
func (s *Set) Forget(ctx context.Context) error {
	s.belief.mu.Lock()
	defer s.belief.mu.Unlock()
	s.belief.loaded, s.belief.known, s.belief.longest = false, trust.Known{}, nil
	if s.Vault.Trust == nil {
		return nil
	}
	return s.Vault.Trust.Forget(ctx, s.Name)
}

// Believe decides whether a version with valid signatures belongs to the dataset that the
// reader knows, and remembers it if so. all holds the dataset's version numbers, if they have
// been listed.
func (s *Set) Believe(ctx context.Context, r *Root, all Numbers) error {
	known, err := s.Known(ctx)
	if err != nil {
		return err
	}
	digest := r.digest()
	seen := known.Versions[r.Number]
	if seen != "" && seen != digest {
		return &UntrustedError{s.Name, r.Number, fmt.Sprintf("its digest is %s, but the version that was seen or pinned before has %s", digest, seen)}
	}
	links := r.Chain.Seen()
	if err := s.follows(r.Number, links, known.Links); err != nil {
		// A pin vouches for the version, whoever the signers are now.
		pinned := seen == digest
		if !pinned {
			var werr error
			if pinned, werr = s.leadsTo(ctx, known, r); werr != nil {
				return werr
			}
		}
		if pinned {
			return s.Vouch(r.Grants)
		}
		return err
	}
	if len(known.Signers) > 0 && !slices.Contains(known.Signers, r.Signer) && !r.Chain.SignedBy(known.Signers) {
		return &UntrustedError{s.Name, r.Number, fmt.Sprintf("it is signed by %s, and none of the signers that the configuration names has signed it or the set of signers",
			r.Signer.ID().Short())}
	}
	first := len(known.Links) == 0
	if first && seen == "" && len(known.Signers) == 0 {
		if err := s.firstContact(ctx, r, all); err != nil {
			return err
		}
	}
	if !first && seen == "" && r.Number > known.Number {
		if err := s.followsUnseen(ctx, r, known, all); err != nil {
			return err
		}
	}
	if err := s.Vouch(r.Grants); err != nil {
		return err
	}
	s.belief.keep(r)
	if first || r.Number > known.Number || len(links) > len(known.Links) {
		return s.Remember(ctx, r.seen())
	}
	return nil
}

// followsUnseen checks a version newer than those that have been seen. A signer who was removed
// by a version in between, which the reader has not seen, could still make one that follows
// everything that the reader knows. So the version is compared with the one before it. If that
// one was deleted too, nothing shows the removal.
func (s *Set) followsUnseen(ctx context.Context, r *Root, known trust.Known, all Numbers) (err error) {
	if all == nil {
		if all, err = s.Numbers(ctx); err != nil {
			return err
		}
	}
	versions := all.Versions()
	at := slices.Index(versions, r.Number)
	if at < 1 || versions[at-1] <= known.Number {
		return nil
	}
	before, err := s.peek(ctx, versions[at-1])
	if err != nil || before == nil || s.follows(before.Number, before.Chain.Seen(), known.Links) != nil {
		return err // or it does not belong to the known dataset
	}
	return s.follows(r.Number, r.Chain.Seen(), before.Chain.Seen())
}

// peek reads the root of a version that was not requested. It returns nil if it cannot be read:
// the version was removed, perhaps since it was listed, or is damaged, or no key opens it.
func (s *Set) peek(ctx context.Context, number int64) (*Root, error) {
	b, err := s.Get(ctx, s.VersionName(number), codec.MaxRoot)
	if err == nil {
		var r *Root
		if r, err = s.parseRoot(ctx, number, b); err == nil {
			return r, nil
		}
	}
	if err = Tampered(err); Unauthentic(err) || errors.Is(err, envelope.ErrNoSlot) {
		return nil, nil
	}
	return nil, err
}

// leadsTo reports whether the version is an ancestor of the newest version that has been seen
// and believed: each root pins the one before. The digests along the way are known from then
// on.
func (s *Set) leadsTo(ctx context.Context, known trust.Known, r *Root) (bool, error) {
	n, digest := known.Number, known.Versions[known.Number]
	for n > r.Number && digest != "" {
		later, err := s.peek(ctx, n)
		if err != nil {
			return false, err
		}
		if later == nil || later.digest() != digest || later.Parent == 0 {
			return false, nil
		}
		n, digest = later.Parent, hex.EncodeToString(later.ParentPin.Digest[:])
		if err := s.Pin(ctx, n, digest); err != nil {
			return false, nil
		}
	}
	return n == r.Number && digest == r.digest(), nil
}

// seen returns the version in the form in which a reader remembers it.
func (r *Root) seen() trust.Known {
	return trust.Known{Links: r.Chain.Seen(), Number: r.Number, Versions: map[int64]string{r.Number: r.digest()}}
}

func (r *Root) digest() string { return hex.EncodeToString(r.Pin.Digest[:]) }

// Removed records that this user has removed a version. If it was the newest seen, the one
// before it is now the newest. The signers stay remembered.
func (s *Set) Removed(ctx context.Context, number int64) error {
	known, err := s.Known(ctx)
	if err != nil || number != known.Number {
		return err
	}
	all, err := s.Numbers(ctx)
	if err != nil {
		return err
	}
	known.Number = 0
	for _, n := range all.Versions() {
		known.Number = n
	}
	delete(known.Versions, number)
	if err := s.Forget(ctx); err != nil {
		return err
	}
	return s.Remember(ctx, known)
}

// Adopt remembers a version that this user has just made, the first of its dataset.
func (s *Set) Adopt(ctx context.Context, r *Root) error {
	if err := s.Vouch(r.Grants); err != nil {
		return err
	}
	s.belief.keep(r)
	return s.Remember(ctx, r.seen())
}

// follows returns an error unless the signers of a version are the known ones, or succeed
// them.
func (s *Set) follows(number int64, links, known []trust.Link) error {
	for i := range min(len(links), len(known)) {
		if links[i].Digest == known[i].Digest {
			continue
		}
		why := "its signers are not those that are known for the dataset: it is another dataset of the same name, or a forged one"
		if i > 0 {
			why = fmt.Sprintf("its signers are those that are known up to the set %d, and others from then on", i)
		}
		return &UntrustedError{s.Name, number, why}
	}
	if n := len(links); n < len(known) && number > known[n].After {
		return &UntrustedError{s.Name, number, fmt.Sprintf("the signers were changed after version %d, and it does not know of it: it was made by someone who may have been removed", known[n].After)}
	}
	return nil
}

// A FirstContact is a Memory that is notified of datasets not known before.
type FirstContact interface {
	FirstContact(dataset string, signer signing.KeyID)
}

// firstContact checks a version of a dataset about which nothing is known. It checks that the
// version belongs to the same dataset as the oldest version and the one before it, as far as
// they can be read: this detects a version that somebody has appended. It cannot show that all
// of them were made by whom the reader expects; that takes a pin.
func (s *Set) firstContact(ctx context.Context, r *Root, all Numbers) (err error) {
	if all == nil {
		if all, err = s.Numbers(ctx); err != nil {
			return err
		}
	}
	versions := all.Versions()
	at := slices.Index(versions, r.Number)
	var others []int64
	if at > 0 {
		others = append(others, versions[0])
	}
	if at > 1 {
		others = append(others, versions[at-1])
	}
	for _, n := range others {
		other, err := s.peek(ctx, n)
		if err != nil {
			return err
		}
		if other == nil {
			continue // whoever damaged it could also have removed it
		}
		if err := s.follows(r.Number, r.Chain.Seen(), other.Chain.Seen()); err != nil {
			return &UntrustedError{s.Name, r.Number, fmt.Sprintf("it does not follow version %d, which was made by other signers; "+
				"nothing is known of this dataset here, so which of the two is the right one only its owner can tell: ask for DATASET@VERSION#DIGEST", n)}
		}
	}
	if told, ok := s.Vault.Trust.(FirstContact); ok {
		told.FirstContact(s.Name, r.Signer.ID())
	}
	return nil
}
