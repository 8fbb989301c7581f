package codec

import (
	"encoding/hex"
	"fmt"

	"github.com/vaultpack/vaultpack/dataset/tree"
	"github.com/vaultpack/vaultpack/envelope"
)

// appendPart adds a part that was read to those before it, after it was checked.
func appendPart(parts []tree.Part, p partJSON) ([]tree.Part, error) {
	o, err := p.object()
	if err != nil {
		return nil, err
	}
	first := fromUTF8(p.First, p.First64)
	switch {
	case len(first) > tree.MaxPath+1:
		return nil, fmt.Errorf("a part begins with a path of %d bytes: %w", len(first), envelope.ErrAuthentication)
	case p.Entries < 1 || p.Entries > maxEntries:
		return nil, fmt.Errorf("a part of %d entries, and the bound is %d: %w", p.Entries, maxEntries, envelope.ErrAuthentication)
	case len(parts) == maxParts:
		return nil, fmt.Errorf("more parts than %d: %w", maxParts, envelope.ErrAuthentication)
	case len(parts) > 0 && first <= parts[len(parts)-1].First:
		return nil, fmt.Errorf("the parts are not sorted at %q: %w", first, envelope.ErrAuthentication)
	}
	part := tree.Part{Object: o, First: first, Entries: p.Entries}
	if part.Sum, err = parseDigest(p.Sum); err != nil {
		return nil, err
	}
	return append(parts, part), nil
}

func partsOf(all []partJSON) (parts []tree.Part, err error) {
	for _, p := range all {
		if parts, err = appendPart(parts, p); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

func partsJSON(parts []tree.Part) []partJSON {
	all := []partJSON{}
	for _, p := range parts {
		pj := partJSON{objectJSON: objectOf(p.Object), Entries: p.Entries, Sum: hex.EncodeToString(p.Sum[:])}
		pj.First, pj.First64 = toUTF8(p.First)
		all = append(all, pj)
	}
	return all
}
