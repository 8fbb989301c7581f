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
	// Digest has lowercase hex by the name of the algorithm: "sha256" for one.
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

// Encode is the statement as it is signed, with the type [StatementPayload]. There is one
// encoding of it, so who knows what a statement has to say compares it with the payload.
func (st *Statement) Encode() ([]byte, error) {
	return json.Marshal(statementJSON{statementType, st.Subject, st.PredicateType, st.Predicate})
}

// ParseStatement reads what Encode writes, and no other encoding.
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

// SignStatement makes a signed envelope of the statement.
func SignStatement(ctx context.Context, s Signer, st *Statement) ([]byte, error) {
	b, err := st.Encode()
	if err != nil {
		return nil, err
	}
	return Sign(ctx, s, StatementPayload, b)
}
