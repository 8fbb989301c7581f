package dataset

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/internal/objects"
	"github.com/vaultpack/vaultpack/signing"
)

// A Signer is a key that may sign versions of a dataset.
type Signer struct {
	Key signing.PublicKey
	// Owner reports whether the signer is an owner, who may also change the signers
	// and rotate data keys, or a writer, who only makes versions.
	Owner bool
}

// Signers returns the signers that may sign the versions after this one: owners
// first, sorted by their key IDs.
func (v *Version) Signers() (all []Signer) {
	r := objects.RootOf(v)
	if r == nil {
		return nil
	}
	for _, k := range r.Chain.Last().Owners {
		all = append(all, Signer{k, true})
	}
	for _, k := range r.Chain.Last().Writers {
		all = append(all, Signer{k, false})
	}
	return all
}

// A NotSignerError reports that the configured signing key may not do what was
// requested.
type NotSignerError struct {
	Dataset string
	Key     signing.PublicKey
	Owner   bool // only an owner may do it
	Owners  []signing.PublicKey
}

func (e *NotSignerError) Error() string {
	what, flag := "is not a signer of", ""
	if e.Owner {
		what, flag = "is not an owner of", " --owner"
	}
	owner := ""
	if len(e.Owners) > 0 {
		owner = " (" + e.Owners[0].ID().Short() + ")"
	}
	return fmt.Sprintf("the signing key %s %s dataset %q; an owner%s can make it one: vaultpack signers add %s %s%s",
		e.Key.ID().Short(), what, e.Dataset, owner, e.Dataset, e.Key, flag)
}

// A Statement is what a version's signer signed, in a form that other tools can
// verify.
type Statement struct {
	// Envelope is a DSSE envelope of an in-toto statement, whose subject is the SHA-256 of
	// Contents.
	Envelope []byte
	// Contents are the contents of the version's root: see FORMAT.md, section 11.
	Contents []byte
}

// Statement returns the signed statement about the version.
func (v *Version) Statement() (*Statement, error) {
	if v == nil || objects.RootOf(v) == nil {
		return nil, errors.New("dataset: a version that was not read from a vault")
	}
	r := objects.RootOf(v)
	contents, err := codec.EncodeRoot(v.set().Name, r.Root)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(contents) != r.Sum {
		return nil, fmt.Errorf("version %d of dataset %q: its contents have another encoding: %w", v.Number, v.set().Name, envelope.ErrAuthentication)
	}
	return &Statement{[]byte(r.Statement), contents}, nil
}
