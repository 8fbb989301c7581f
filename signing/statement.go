package signing

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/vaultpack/vaultpack/envelope"
)

// StatementPayload is the DSSE payload type of in-toto statements.
const StatementPayload = "application/vnd.in-toto+json"

const statementType = "https://in-toto.io/Statement/v1"

// A Subject is something that a statement is about.
type Subject struct {
	Name string `json:"name"`
	// Digest maps names of algorithms, such as "sha256", to digests in lowercase hex.
	Digest map[string]string `json:"digest"`
}

// A Statement is an in-toto statement, version 1.
type Statement struct {
	Subject       []Subject
	PredicateType string
	Predicate     json.RawMessage
}

type statementJSON struct {
	Type          string          `json:"_type"`
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// Encode returns the payload to sign, of the type [StatementPayload]. A statement has
// only one encoding, so a caller that knows the expected statement can compare encodings.
func (st *Statement) Encode() ([]byte, error) {
	return json.Marshal(statementJSON{statementType, st.Subject, st.PredicateType, st.Predicate})
}

// ParseStatement parses the result of Encode, and no other encoding.
func ParseStatement(b []byte) (*Statement, error) {
	var j statementJSON
	if err := json.Unmarshal(b, &j); err != nil || j.Type != statementType {
		return nil, fmt.Errorf("it is no in-toto statement: %w", envelope.ErrAuthentication)
	}
	st := &Statement{j.Subject, j.PredicateType, j.Predicate}
	if again, err := st.Encode(); err != nil || !bytes.Equal(again, b) {
		return nil, fmt.Errorf("the statement is not encoded as vaultpack does it: %w", envelope.ErrAuthentication)
	}
	return st, nil
}

// SignStatement returns a signed envelope of the statement.
func SignStatement(ctx context.Context, s Signer, st *Statement) ([]byte, error) {
	b, err := st.Encode()
	if err != nil {
		return nil, err
	}
	return Sign(ctx, s, StatementPayload, b)
}
