package objects

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/internal/chain"
	"github.com/vaultpack/vaultpack/internal/codec"
	"github.com/vaultpack/vaultpack/signing"
)

// versionPredicateType is the type of the statement about a version.
const versionPredicateType = "https://github.com/vaultpack/vaultpack/version/v1"

var errUnsigned = errors.New("it is not signed, as vaultpack does it")

// A versionPredicate is what a version's statement says, for tools that do not read
// roots. All of it is also in the root, which is named by hash in the statement's
// subject.
type versionPredicate struct {
	Dataset   string    `json:"dataset"`
	DatasetID string    `json:"dataset_id"`
	Number    int64     `json:"number"`
	Created   time.Time `json:"created"`
	Signers   int       `json:"signers"` // the sequence number of the set
	Message   string    `json:"message,omitempty"`
	// Tree is the Merkle tree hash of the plaintext files.
	Tree string `json:"tree,omitempty"`
}

// StatementOf returns the only possible statement about a version with these contents.
func StatementOf(dataset string, r *codec.Root, c *chain.Chain) (*signing.Statement, error) {
	p := versionPredicate{Dataset: dataset, DatasetID: c.ID(), Number: r.Number, Created: r.Created, Signers: c.Last().Sequence, Message: r.Message}
	if r.HasTree {
		p.Tree = hex.EncodeToString(r.Tree[:])
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return &signing.Statement{
		Subject:       []signing.Subject{{Name: fmt.Sprintf("%s@%d", dataset, r.Number), Digest: map[string]string{"sha256": hex.EncodeToString(r.Sum[:])}}},
		PredicateType: versionPredicateType,
		Predicate:     b,
	}, nil
}

// SignRoot returns the plaintext of a version root: a line with its contents, and a line
// with the signed statement about them.
func SignRoot(ctx context.Context, dataset string, r *codec.Root, c *chain.Chain, s signing.Signer) ([]byte, error) {
	contents, err := codec.EncodeRoot(dataset, r)
	if err != nil {
		return nil, err
	}
	st, err := StatementOf(dataset, r, c)
	if err != nil {
		return nil, err
	}
	signed, err := signing.SignStatement(ctx, s, st)
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{contents, signed, nil}, []byte("\n")), nil
}

// openRoot reads the output of SignRoot, and verifies that the version was made by
// somebody who was allowed to make it. It does not check whether the reader knows its
// chain of signers.
func (s *Set) openRoot(number int64, b []byte) (*Root, error) {
	contents, signed, _ := bytes.Cut(b, []byte("\n"))
	if len(signed) == 0 {
		return nil, fmt.Errorf("version %d of dataset %q: %w: %w", number, s.Name, errUnsigned, envelope.ErrAuthentication)
	}
	signed, ok := bytes.CutSuffix(signed, []byte("\n"))
	if !ok {
		return nil, envelope.ErrAuthentication
	}
	root, err := codec.DecodeRoot(s.Name, number, contents)
	if err != nil {
		return nil, err
	}
	c, err := chain.Parse(s.Name, root.Signers, s.belief.chain())
	if err != nil {
		return nil, err
	}
	r := &Root{Root: root, Chain: c, Statement: string(signed)}
	if r.Signer, err = signerOf(root, c, signed); err != nil {
		return nil, err
	}
	said, err := signing.Open(signed, signing.StatementPayload, r.Signer)
	if err != nil {
		return nil, err
	}
	st, err := StatementOf(s.Name, root, c)
	if err != nil {
		return nil, err
	}
	want, err := st.Encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(said, want) {
		return nil, fmt.Errorf("version %d of dataset %q is not the one that was signed: %w", number, s.Name, envelope.ErrAuthentication)
	}
	return r, s.readGrants(r)
}

// signerOf finds the key that signed a root, among those that may sign it.
func signerOf(root *codec.Root, c *chain.Chain, signed []byte) (signing.PublicKey, error) {
	id, _, err := signing.Unverified(signed)
	if err != nil {
		return signing.PublicKey{}, err
	}
	if root.Delegation != "" {
		d, err := c.ParseDelegation(root.Delegation)
		if err != nil {
			return signing.PublicKey{}, err
		}
		if d.Key.ID() != id {
			return signing.PublicKey{}, envelope.ErrAuthentication
		}
		return d.Key, d.Covers(root.Number, root.Created)
	}
	for _, k := range slices.Concat(c.Last().Owners, c.Last().Writers) {
		if k.ID() == id {
			return k, nil
		}
	}
	return signing.PublicKey{}, fmt.Errorf("version %d was signed by %s, which is not a signer of the dataset: %w", root.Number, id.Short(), envelope.ErrAuthentication)
}

// readGrants reads the grants of data keys in a root, and checks that they cover
// everything that the root names.
func (s *Set) readGrants(r *Root) error {
	r.Grants = make([]chain.Grant, 0, len(r.Keys))
	r.granted = map[envelope.KeyID]*chain.Grant{}
	for _, raw := range r.Keys {
		g, err := s.belief.grant(r.Chain, raw)
		if err != nil {
			return err
		}
		if r.granted[g.KeyID] != nil {
			return fmt.Errorf("the data key %s is granted twice: %w", g.KeyID, envelope.ErrAuthentication)
		}
		r.Grants = append(r.Grants, g)
		r.granted[g.KeyID] = &r.Grants[len(r.Grants)-1]
	}
	for _, p := range r.Parts {
		if err := r.Names(p.KeyID); err != nil {
			return err
		}
	}
	return nil
}

// Names returns an error unless the root names the data key.
func (r *Root) Names(id envelope.KeyID) error {
	if r == nil {
		return errors.New("a version that was not read from a vault")
	}
	if r.granted[id] == nil {
		return fmt.Errorf("version %d has something under the data key %s, which it does not name: %w", r.Number, id, envelope.ErrAuthentication)
	}
	return nil
}
