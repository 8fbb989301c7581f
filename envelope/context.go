package envelope

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An EncryptionContext holds the name-value pairs that a wrapped data key is
// bound to. The same pairs must be given to unwrap it. It is not secret: AWS
// KMS logs it to CloudTrail in the clear. Names that begin with "vaultpack:"
// are reserved for vaultpack.
type EncryptionContext map[string]string

// Names of vaultpack's own pairs.
const (
	ContextDataset = "vaultpack:dataset" // the name of the dataset; absent for a file on its own
	ContextKeyID   = "vaultpack:key-id"  // the data key's ID in hex, added by this package
)

// Check returns an error unless the pairs can be used: UTF-8 of visible characters, names of
// 1 to 128 bytes and values of 1 to 1024 bytes, at most 16 pairs, and no reserved names
// except those that this package defines.
func (ec EncryptionContext) Check() error {
	if len(ec) > 16 {
		return fmt.Errorf("encryption context: %d pairs, the limit is 16", len(ec))
	}
	for k, v := range ec {
		switch {
		case len(k) == 0 || len(k) > 128 || !printable(k):
			return fmt.Errorf("encryption context: name %q must be 1 to 128 bytes of printable UTF-8", k)
		case len(v) == 0 || len(v) > 1024 || !printable(v):
			return fmt.Errorf("encryption context: the value of %q must be 1 to 1024 bytes of printable UTF-8", k)
		case strings.HasPrefix(k, "vaultpack:") && k != ContextDataset:
			return fmt.Errorf("encryption context: names with %q are vaultpack's own, found %q", "vaultpack:", k)
		}
	}
	return nil
}

// printable reports whether all of s can be seen, for what it is: a name that looks
// like another one, in a log or a policy, is none. It has no control characters,
// none that change the direction of writing or take no room, and no spaces but
// the plain one.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsPrint(r) || r == blankBraille ||
			unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
	})
}

const blankBraille = '\u2800' // a symbol by its class, and nothing to see

// forKey is the context with the key ID's pair.
func (ec EncryptionContext) forKey(id KeyID) (EncryptionContext, error) {
	if err := ec.Check(); err != nil {
		return nil, err
	}
	full := maps.Clone(ec)
	if full == nil {
		full = EncryptionContext{}
	}
	full[ContextKeyID] = id.String()
	return full, nil
}

// Canonical returns the context's only encoding: the pairs sorted by the bytes
// of their names, each name and each value preceded by its length as 4 bytes,
// big-endian. Wrappers that have no notion of a context use it as additional
// data.
func (ec EncryptionContext) Canonical() []byte {
	var b []byte
	put := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	for _, k := range slices.Sorted(maps.Keys(ec)) {
		put(k)
		put(ec[k])
	}
	return b
}
