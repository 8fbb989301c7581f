package dataset

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/internal/codec"
)

// A Reference is the text form in which people name a version.
type Reference struct {
	Dataset string
	Number  int64  // 0 for the newest version, or for the one with the tag
	Tag     string // a name that the dataset's signers have given a version
	Digest  string // the digest that the version must have, in hex; may be empty
}

// Choice returns the Choice of the version that r names.
func (r Reference) Choice() Choice { return Choice{Number: r.Number, Tag: r.Tag, Digest: r.Digest} }

// String returns the reference in the form that ParseReference parses.
func (r Reference) String() string {
	s := r.Dataset
	switch {
	case r.Number > 0:
		s += "@" + strconv.FormatInt(r.Number, 10)
	case r.Tag != "":
		s += "@" + r.Tag
	}
	if r.Digest != "" {
		s += "#" + r.Digest
	}
	return s
}

// ParseReference parses NAME, NAME@NUMBER, NAME@TAG or NAME@latest, each optionally
// followed by #DIGEST.
func ParseReference(ref string) (r Reference, err error) {
	rest, digest, pinned := strings.Cut(ref, "#")
	name, v, found := strings.Cut(rest, "@")
	r.Dataset = name
	if err := CheckName(name); err != nil {
		return Reference{}, err
	}
	if pinned {
		if r.Digest, err = ParseDigest(digest); err != nil {
			return Reference{}, err
		}
	}
	if !found || v == "latest" {
		return r, nil
	}
	if codec.CheckTag(v) == nil {
		r.Tag = v
		return r, nil
	}
	// There is one way to write a number.
	if r.Number, err = strconv.ParseInt(v, 10, 64); err != nil || r.Number < 1 || strconv.FormatInt(r.Number, 10) != v {
		return Reference{}, fmt.Errorf("%q is not a version: write DATASET@NUMBER, such as %s@1, or DATASET@TAG", v, name)
	}
	return r, nil
}

// ParseDigest checks that s is the digest of a version: 64 lowercase hex digits.
func ParseDigest(s string) (string, error) {
	if b, err := hex.DecodeString(s); err != nil || len(b) != 32 || s != strings.ToLower(s) {
		return "", fmt.Errorf("%.100q is not the digest of a version: 64 hex digits, as vaultpack versions prints them", s)
	}
	return s, nil
}
