package dataset

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/vaultpack/vaultpack/internal/codec"
)

// A Reference is what people write for a version.
type Reference struct {
	Dataset string
	Number  int64  // 0 where the newest version is meant, or that of the tag
	Tag     string // a name that the dataset's signers have given a version
	Digest  string // that the version must have, in hex; may be empty
}

// Choice is the choice of the version that is meant.
func (r Reference) Choice() Choice { return Choice{Number: r.Number, Tag: r.Tag, Digest: r.Digest} }

// String is the reference as ParseReference reads it.
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

// ParseReference reads NAME, NAME@NUMBER, NAME@TAG or NAME@latest, each with or without
// #DIGEST behind it.
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

// ParseDigest checks the digest of a version: 64 digits of lowercase hex.
func ParseDigest(s string) (string, error) {
	if b, err := hex.DecodeString(s); err != nil || len(b) != 32 || s != strings.ToLower(s) {
		return "", fmt.Errorf("%.100q is not the digest of a version: 64 hex digits, as vaultpack versions tells them", s)
	}
	return s, nil
}
