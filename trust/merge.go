package trust

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/signing"
)

// maxVersions is the number of versions, the newest ones, whose digests are remembered.
const maxVersions = 64

// merge adds what was seen, and reports whether that is anything new. If it
// contradicts what is known, the error wraps envelope.ErrAuthentication.
func (k *Known) merge(dataset string, seen Known) (changed bool, err error) {
	for i := range min(len(k.Links), len(seen.Links)) {
		if k.Links[i] != seen.Links[i] {
			return false, fmt.Errorf("other signers of dataset %q are remembered: %w", dataset, envelope.ErrAuthentication)
		}
	}
	for n, digest := range seen.Versions {
		if was := k.Versions[n]; was != "" && was != digest {
			return false, fmt.Errorf("version %d of dataset %q is remembered with the digest %s, not %s: %w", n, dataset, was, digest, envelope.ErrAuthentication)
		}
	}
	if len(seen.Links) > len(k.Links) {
		k.Links, changed = seen.Links, true
	}
	if seen.Number > k.Number {
		k.Number, changed = seen.Number, true
	}
	if seen.Begun != "" && seen.Begun != k.Begun {
		k.Begun, changed = seen.Begun, true
	}
	for n, digest := range seen.Versions {
		if k.Versions[n] == "" {
			if k.Versions == nil {
				k.Versions = map[int64]string{}
			}
			k.Versions[n], changed = digest, true
		}
	}
	if numbers := slices.Sorted(maps.Keys(k.Versions)); len(numbers) > maxVersions {
		for _, n := range numbers[:len(numbers)-maxVersions] {
			delete(k.Versions, n)
		}
	}
	return changed, nil
}

// A Pinned adds pins to a Memory. The pins apply no matter what the Memory remembers.
type Pinned struct {
	Memory // nil if nothing is remembered
	// Signers are pinned for all datasets.
	Signers []signing.PublicKey
	// Versions holds pinned digests in hex, by dataset and version number.
	Versions map[string]map[int64]string
}

// Recall returns what is remembered and what is pinned.
func (p *Pinned) Recall(ctx context.Context, dataset string) (k Known, err error) {
	if p.Memory != nil {
		if k, err = p.Memory.Recall(ctx, dataset); err != nil {
			return k, err
		}
	}
	k.Signers = p.Signers
	if pins := p.Versions[dataset]; len(pins) > 0 {
		all := maps.Clone(k.Versions)
		if all == nil {
			all = map[int64]string{}
		}
		maps.Copy(all, pins)
		k.Versions = all
		k.Number = max(k.Number, slices.Max(slices.Collect(maps.Keys(pins))))
	}
	return k, nil
}

// Remember adds to the Memory.
func (p *Pinned) Remember(ctx context.Context, dataset string, seen Known) error {
	if p.Memory == nil {
		return nil
	}
	return p.Memory.Remember(ctx, dataset, seen)
}

// Forget removes what the Memory remembers.
func (p *Pinned) Forget(ctx context.Context, dataset string) error {
	if p.Memory == nil {
		return nil
	}
	return p.Memory.Forget(ctx, dataset)
}

// FirstContact reports the dataset to the Memory.
func (p *Pinned) FirstContact(dataset string, signer signing.KeyID) {
	if m, ok := p.Memory.(interface {
		FirstContact(string, signing.KeyID)
	}); ok {
		m.FirstContact(dataset, signer)
	}
}
